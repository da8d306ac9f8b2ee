"""The official client `aerospike` as the suites use it."""

import importlib
import importlib.metadata

import aerospike
from aerospike import exception
from proving import client

TIMEOUT = {"total_timeout": 20_000, "socket_timeout": 20_000, "max_retries": 2}


def early_import():
    """The C code of batch_read looks this module up in sys.modules: two threads that make their first call at
    the same time find it half imported."""
    importlib.import_module("aerospike_helpers.batch.records")


class Adapter(client.Adapter):
    # The patched client, whose version is not the vendor's, needs none.
    precautions = {} if "+" in importlib.metadata.version("aerospike") else {"early-import": early_import}

    def connect(self):
        return aerospike.client({"hosts": [(self.host, self.port)], "connect_timeout": 20_000}).connect()

    def close(self, client):
        client.close()

    def put(self, client, key, bins):
        client.put(key, bins, policy=TIMEOUT)

    def get(self, client, key):
        return client.get(key, TIMEOUT)[2]

    def batch_read(self, client, keys):
        return client.batch_read(keys, policy=TIMEOUT)

    def rows(self, result):
        return [each.record[2] if each.result == 0 else None for each in result.batch_records]

    def add(self, client, key, bin_name, number):
        # As `aerospike_helpers.operations` would make them, without the import.
        operations = [
            {"op": aerospike.OPERATOR_INCR, "bin": bin_name, "val": number},
            {"op": aerospike.OPERATOR_READ, "bin": bin_name},
        ]
        return client.operate(key, operations, policy=TIMEOUT)[2][bin_name]

    def query(self, client, namespace, set_name):
        return [bins for _, _, bins in client.query(namespace, set_name).results()]

    def mistakes(self, client, missing):
        return [
            (lambda: client.get(missing, TIMEOUT), exception.RecordNotFound),
            (lambda: client.put(missing, 17, policy=TIMEOUT), exception.ParamError),
            (lambda: client.batch_read([None], policy=TIMEOUT), exception.ParamError),
        ]

    def details(self, error):
        return type(error).__name__, error.code, error.msg, getattr(error, "key", None)

    def server(self, client):
        return " ".join(client.info_random_node(what).split("\t")[-1].strip() for what in ("edition", "build"))
