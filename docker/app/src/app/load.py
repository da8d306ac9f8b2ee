"""Writes the records of the nine sets: `load-data --records N`, or `python -m app.load`."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice

from app.keys import SETS
from app.records import SAMPLE_CANDIDATES, Bins, key, record
from app.settings import Settings, SettingsError
from app.stores import StoreError, official, py_async
from app.stores.base import OK, Key

Write = tuple[Key, Bins]
# Writes one batch; raises StoreError.
Writer = Callable[[list[Write]], None]

BATCH = 500
# Writing may be slow where reading must not be.
POLICY = {"total_timeout": 30_000, "socket_timeout": 10_000, "max_retries": 2}


def writes(namespace: str, records: int) -> Iterator[Write]:
    """Set by set and in order: /ready looks for the last ones too."""
    for name in SETS:
        for number in range(records):
            yield (namespace, name, key(name, number)), record(name, number)


def batches(items: Iterable[Write], size: int = BATCH) -> Iterator[list[Write]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def py_writer(settings: Settings) -> Writer:
    import aerospike_py  # noqa: PLC0415

    config = {"hosts": list(settings.hosts), "use_services_alternate": settings.services_alternate}
    credentials = (settings.user, settings.password) if settings.user else ()
    with py_async.guarded():
        client = aerospike_py.client(config).connect(*credentials)

    def write(batch: list[Write]) -> None:
        with py_async.guarded():
            done = client.batch_write(batch, POLICY)
        check((each.key, each.result) for each in done.batch_records)

    return write


def official_writer(settings: Settings) -> Writer:
    from aerospike_helpers.batch import records  # noqa: PLC0415
    from aerospike_helpers.operations import operations  # noqa: PLC0415

    client = official.guarded(official.open_client, settings)

    def write(batch: list[Write]) -> None:
        wanted = [
            records.Write(key, [operations.write(name, value) for name, value in bins.items()])
            for key, bins in batch
        ]
        done = official.guarded(client.batch_write, records.BatchRecords(wanted), POLICY)
        check((each.key, each.result) for each in done.batch_records)

    return write


WRITERS = {"py-async": py_writer, "official": official_writer}


def check(results: Iterable[tuple[Key, int]]) -> None:
    for written, result in results:
        if result != OK:
            raise StoreError.of_record("writing", written, result)


def open_writer(settings: Settings, client: str) -> tuple[str, Writer]:
    """By default with whichever client is installed."""
    missing = []
    for name in WRITERS if client == "any" else [client]:
        try:
            return name, WRITERS[name](settings)
        except ModuleNotFoundError as error:
            missing.append(str(error))
    raise StoreError(f"no Aerospike client to write with: {'; '.join(missing)}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="load-data", description=__doc__)
    parser.add_argument("--records", type=int, default=1000, help="in each of the nine sets (1000)")
    parser.add_argument("--host", help="by default those of AEROSPIKE_HOSTS")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--namespace", help="by default AEROSPIKE_NAMESPACE")
    parser.add_argument("--client", choices=["any", *WRITERS], default="any")
    options = parser.parse_args()
    if options.records < SAMPLE_CANDIDATES:
        parser.error(f"--records: at least {SAMPLE_CANDIDATES}, which the sample request asks for")
    try:
        settings = Settings.read()
        if options.host:
            settings = replace(settings, hosts=((options.host, options.port),))
        namespace = options.namespace or settings.namespace
        name, write = open_writer(settings, options.client)
        for batch in batches(writes(namespace, options.records)):
            write(batch)
    except (SettingsError, StoreError) as error:
        sys.exit(f"error: {error}")
    print(f"wrote {options.records} records to each of {len(SETS)} sets of namespace {namespace} with {name}")


if __name__ == "__main__":
    main()
