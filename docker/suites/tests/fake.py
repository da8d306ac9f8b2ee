"""A client for the suites' own tests: records are files in a folder, and FAKE says what is wrong with it."""

import faulthandler
import functools
import os
import pickle
import time
from pathlib import Path

from proving import client

FOLDER = Path(os.environ["FAKE_RECORDS"])
FAULT = os.environ.get("FAKE", "")
careful = False


class Missing(Exception):
    pass


def precaution():
    global careful
    careful = True


class Adapter(client.Adapter):
    precautions = {"care": precaution}

    def connect(self):
        if FAULT == "refuses":
            raise ConnectionError("nobody listens")
        return self

    def close(self, client):
        pass

    def _file(self, key):
        return FOLDER / "-".join(key)

    def put(self, client, key, bins):
        file = self._file(key)
        part = file.with_name(f"{file.name}.{os.getpid()}.{time.monotonic_ns()}.part")
        part.write_bytes(pickle.dumps(bins))
        part.rename(file)

    def get(self, client, key):
        self.misbehave("get")
        try:
            return pickle.loads(self._file(key).read_bytes())
        except FileNotFoundError:
            raise Missing(key) from None

    def misbehave(self, call):
        if FAULT == f"{call} is wrong":
            raise KeyError("an error of the client")
        if FAULT == f"{call} hangs":
            time.sleep(1000)
        if FAULT == f"{call} crashes" or (FAULT == f"{call} needs care" and not careful):
            faulthandler._sigsegv()
        if FAULT == f"{call} crashes in each thread":
            # Without the GIL, so that all threads crash at the same time.
            faulthandler._sigsegv(True)
        if FAULT == f"{call} ends":
            os._exit(0)

    def batch_read(self, client, keys):
        self.misbehave("batch_read")
        return [self._bytes(key) for key in keys]

    @functools.cache
    def _bytes(self, key):
        """Read once: what batches read is not written meanwhile with anything else."""
        return self._file(key).read_bytes() if self._file(key).exists() else None

    def rows(self, result):
        rows = [each and pickle.loads(each) for each in result]
        if FAULT == "data is wrong":
            rows[3] = rows[4]
        return rows

    def add(self, client, key, bin_name, number):
        # Each thread has a key of its own.
        bins = self.get(client, key)
        bins[bin_name] += number
        self.put(client, key, bins)
        return bins[bin_name]

    def query(self, client, namespace, set_name):
        raise NotImplementedError("no queries")

    def mistakes(self, client, missing):
        return [(lambda: self.get(client, missing), Missing)]

    def details(self, error):
        if FAULT == "errors share their details":
            # As if they were stored on the class: a reader finds what the last call of any thread left there.
            Missing.shared = error.args
            time.sleep(0.001)
            return Missing.shared
        return super().details(error)

    def server(self, client):
        return "a folder"
