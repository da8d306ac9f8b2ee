"""Prometheus metrics, under the names of the report; aerospike-py adds its own."""

from time import perf_counter

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

REGISTRY = CollectorRegistry()
disable_created_metrics()
ProcessCollector(registry=REGISTRY)

# Close enough together that a quantile read from them means something.
_SECONDS = tuple(
    float(f"{digits}e{power}") for power in range(-4, 1) for digits in (1, 1.5, 2, 3, 4, 5, 6, 8)
)


def _histogram(name: str, text: str) -> Histogram:
    return Histogram(name, text, ["client_type", "mode"], buckets=_SECONDS, registry=REGISTRY)


PREDICT = _histogram("predict_duration_seconds", "One prediction, errors included.")
KEY_EXTRACTION = _histogram("key_extraction_duration_seconds", "From the request to the keys.")
BATCH_READ_ALL = _histogram(
    "aerospike_batch_read_all_duration_seconds", "Batch reads over all sets, conversion included."
)
FEATURES = _histogram("feature_extraction_duration_seconds", "From records to matrices.")
INFERENCE = _histogram("dlrm_inference_duration_seconds", "Forward pass of the model.")
RESPONSE = _histogram("response_build_duration_seconds", "From scores to JSON.")
REQUESTS = Counter(
    "predict_requests_total", "Predictions by outcome.", ["client_type", "mode", "status"], registry=REGISTRY
)
ACTIVE = Gauge("predict_active_requests", "Predictions under way.", ["client_type"], registry=REGISTRY)


def observe(histogram: Histogram, started: float, *labels: str) -> float:
    """Notes the seconds since `started`, and returns them."""
    seconds = perf_counter() - started
    histogram.labels(*labels).observe(seconds)
    return seconds


def exposition() -> bytes:
    """All metrics as text; with aerospike-py also `db_client_operation_duration_seconds`, and with
    AEROSPIKE_PY_INTERNAL_METRICS=1 the stages in `db_client_internal_stage_seconds`."""
    text = generate_latest(REGISTRY)
    try:
        import aerospike_py  # noqa: PLC0415
    except ModuleNotFoundError:
        return text
    # Its end-of-file mark is no longer at the end.
    return text + aerospike_py.get_metrics().removesuffix("# EOF\n").encode()
