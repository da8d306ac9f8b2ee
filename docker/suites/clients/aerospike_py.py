"""aerospike-py as the suites use it."""

import aerospike_py
from aerospike_py import exception
from proving import client

TIMEOUT = {"total_timeout": 20_000, "socket_timeout": 20_000, "max_retries": 2}


class Adapter(client.Adapter):
    def _config(self):
        return {"hosts": [(self.host, self.port)], "timeout": 20_000}

    def connect(self):
        return aerospike_py.client(self._config()).connect()

    def close(self, client):
        client.close()

    def put(self, client, key, bins):
        client.put(key, bins, policy=TIMEOUT)

    def get(self, client, key):
        return client.get(key, policy=TIMEOUT).bins

    def batch_read(self, client, keys):
        return client.batch_read(keys, policy=TIMEOUT)

    def rows(self, result):
        return result.to_list()

    def add(self, client, key, bin_name, number):
        operations = [
            {"op": aerospike_py.OPERATOR_INCR, "bin": bin_name, "val": number},
            {"op": aerospike_py.OPERATOR_READ, "bin": bin_name},
        ]
        return client.operate(key, operations, policy=TIMEOUT).bins[bin_name]

    def query(self, client, namespace, set_name):
        return [record.bins for record in client.query(namespace, set_name).results()]

    def mistakes(self, client, missing):
        return [
            (lambda: client.get(missing, policy=TIMEOUT), exception.RecordNotFound),
            (lambda: client.put(missing, {"bin": object()}, policy=TIMEOUT), TypeError),
            (lambda: client.batch_read([None], policy=TIMEOUT), TypeError),
        ]

    def server(self, client):
        return " ".join(client.info_all(what)[0].response.split("\t")[-1].strip() for what in ("edition", "build"))

    async def connect_async(self):
        return await aerospike_py.AsyncClient(self._config()).connect()

    async def close_async(self, client):
        await client.close()

    async def read_async(self, client, keys):
        return (await client.batch_read(keys, policy=TIMEOUT)).to_list()
