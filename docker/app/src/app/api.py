"""The web application: which path does what."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse

from app import metrics, runtime
from app.keys import keys_by_set
from app.limits import BodyLimit
from app.predict import Options, Predictor
from app.records import sample
from app.schemas import ClientType, PredictRequest, PredictResponse, Problem
from app.settings import Settings
from app.stores import Store, StoreError, create

# The answers are made by hand, once; this is for the documentation at /docs.
_ANSWERS: dict[int | str, dict[str, Any]] = {200: {"model": PredictResponse}, 503: {"model": Problem}}


def create_app(settings: Settings, stores: list[Store] | None = None) -> FastAPI:
    by_name = {store.name: store for store in (create(settings) if stores is None else stores)}
    predictor = Predictor(settings)
    sample_request = sample()
    # First and last: load-data writes in this order.
    probe = sample_request.model_copy(
        update={"candidate_ads": [sample_request.candidate_ads[0], sample_request.candidate_ads[-1]]}
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        connecting = [asyncio.create_task(store.keep_connecting()) for store in by_name.values()]
        yield
        for task in connecting:
            task.cancel()
        await asyncio.gather(*connecting, return_exceptions=True)
        for store in by_name.values():
            await store.close()
        predictor.close()

    app = FastAPI(title="Aerospike benchmark application", lifespan=lifespan)
    app.add_middleware(BodyLimit, limit=settings.max_body)

    @app.exception_handler(StoreError)
    async def unavailable(_: Request, error: StoreError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 503, {"Retry-After": "1"})

    @app.get("/predict/{client_type}/sample", responses=_ANSWERS)
    async def predict_sample(client_type: ClientType, options: Annotated[Options, Query()]) -> Response:
        return json_response(await predictor.predict(by_name[client_type], sample_request, options))

    @app.post("/predict/{client_type}", responses=_ANSWERS)
    async def predict(
        client_type: ClientType, request: PredictRequest, options: Annotated[Options, Query()]
    ) -> Response:
        return json_response(await predictor.predict(by_name[client_type], request, options))

    @app.get("/health")
    async def health() -> dict[str, str]:
        """The process answers; says nothing of the server."""
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> JSONResponse:
        """Every client of this image reaches the server and finds the sample's records."""
        states = {name: await readiness(store, probe) for name, store in by_name.items()}
        good = all(state in ("ready", "not installed") for state in states.values())
        good = good and "ready" in states.values()
        return JSONResponse({"ready": good, "clients": states}, 200 if good else 503)

    @app.get("/metrics")
    async def metrics_text() -> Response:
        return Response(metrics.exposition(), media_type=metrics.CONTENT_TYPE)

    @app.get("/runtime")
    async def runtime_report() -> dict[str, Any]:
        return runtime.report(settings)

    return app


async def readiness(store: Store, request: PredictRequest) -> str:
    if store.not_installed:
        return "not installed"
    try:
        records = await store.read(keys_by_set(request), "single")
    except StoreError as error:
        return str(error)
    absent = [name for name, found in records.items() if None in found]
    return f"no data in: {', '.join(absent)}; run load-data" if absent else "ready"


def json_response(body: bytes) -> Response:
    return Response(body, media_type="application/json")
