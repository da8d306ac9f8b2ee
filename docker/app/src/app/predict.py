"""One prediction: keys, batch read, features, model, answer; each stage timed."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app import dlrm, features, metrics
from app.features import Records
from app.keys import SETS, keys_by_set
from app.schemas import MAX_CANDIDATES, Mode, Prediction, PredictRequest, PredictResponse
from app.settings import Settings
from app.stores import Store


class Options(BaseModel):
    """The query parameters of every /predict endpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode = "single"
    num_sets: Annotated[int, Field(ge=1, le=len(SETS), description="read only the first ones")] = len(SETS)
    batch_size: Annotated[int | None, Field(ge=1, le=MAX_CANDIDATES, description="only the first ads")] = None
    skip_inference: bool = False


class Predictor:
    def __init__(self, settings: Settings) -> None:
        self._engine = dlrm.engine(settings.dlrm_engine, settings.dlrm_seed)
        # None: in the event loop, as in the application of the report.
        self._pool = (
            ThreadPoolExecutor(settings.compute_threads, thread_name_prefix="compute")
            if settings.compute_threads
            else None
        )

    async def predict(self, store: Store, request: PredictRequest, options: Options) -> bytes:
        """The answer as JSON. Raises StoreError when there are no records to be had."""
        labels = (store.name, options.mode)
        started = perf_counter()
        status = "error"
        metrics.ACTIVE.labels(store.name).inc()
        try:
            answer = await self._predict(store, request, options, started)
            status = "success"
            return answer
        finally:
            metrics.ACTIVE.labels(store.name).dec()
            metrics.observe(metrics.PREDICT, started, *labels)
            metrics.REQUESTS.labels(*labels, status).inc()

    async def _predict(
        self, store: Store, request: PredictRequest, options: Options, started: float
    ) -> bytes:
        labels = (store.name, options.mode)
        request = request.model_copy(update={"candidate_ads": request.candidate_ads[: options.batch_size]})

        key_start = perf_counter()
        keys = keys_by_set(request, options.num_sets)
        metrics.observe(metrics.KEY_EXTRACTION, key_start, *labels)

        read_start = perf_counter()
        records = await store.read(keys, options.mode)
        read_s = metrics.observe(metrics.BATCH_READ_ALL, read_start, *labels)

        def finish() -> bytes:
            scores, inference_s = self._score(request, records, labels, skip=options.skip_inference)
            response_start = perf_counter()
            answer = PredictResponse(
                client_type=store.name,
                mode=options.mode,
                predictions=[
                    Prediction(ad_id=ad.ad_id, score=round(score, 6))
                    for ad, score in zip(request.candidate_ads, scores, strict=True)
                ],
                aerospike_ms=round(read_s * 1000, 3),
                inference_ms=round(inference_s * 1000, 3),
                total_ms=round((perf_counter() - started) * 1000, 3),
                records_found=sum(bins is not None for of_set in records.values() for bins in of_set),
                records_total=sum(len(of_set) for of_set in keys.values()),
            )
            body = answer.model_dump_json(by_alias=True).encode()
            metrics.observe(metrics.RESPONSE, response_start, *labels)
            return body

        return await self._compute(finish)

    def _score(
        self, request: PredictRequest, records: Mapping[str, Records], labels: tuple[str, ...], *, skip: bool
    ) -> tuple[list[float], float]:
        if skip:
            return [0.0] * len(request.candidate_ads), 0.0
        features_start = perf_counter()
        sparse, dense = features.extract(request, records)
        metrics.observe(metrics.FEATURES, features_start, *labels)
        inference_start = perf_counter()
        scores = self._engine(sparse, dense)
        return scores.tolist(), metrics.observe(metrics.INFERENCE, inference_start, *labels)

    async def _compute(self, function: Callable[[], Any]) -> Any:  # noqa: ANN401
        if self._pool is None:
            return function()
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
