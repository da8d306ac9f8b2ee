"""Prints the CPU time of the calling thread for one call, in microseconds, as JSON. Run it in turn with both clients.

Needs a server like run.py.
"""

import gc
import json
import time

import aerospike
from aerospike import exception
from scenarios import TIMEOUT, connect, key

BINS = {f"bin {number}": number for number in range(4)} | {"text": "text"}
NESTED = {"list": [{"a": number, "b": f"text {number}"} for number in range(300)]}
KEYS = [key(number) for number in range(200)]
OPERATIONS = [
    {"op": aerospike.OPERATOR_INCR, "bin": "bin 0", "val": 1},
    {"op": aerospike.OPERATOR_READ, "bin": "bin 0"},
]


def main() -> None:
    client = connect()

    def missing():
        try:
            client.get(key("missing"), TIMEOUT)
        except exception.RecordNotFound:
            pass

    calls = {
        "warm-up": (lambda: client.get(key("speed"), TIMEOUT), 3000),
        "get": (lambda: client.get(key("speed"), TIMEOUT), 1500),
        "put 5 bins": (lambda: client.put(key("speed"), BINS, policy=TIMEOUT), 1500),
        "operate": (lambda: client.operate(key("speed"), OPERATIONS, policy=TIMEOUT), 1500),
        "get, missing": (missing, 1500),
        "batch_read 200": (lambda: client.batch_read(KEYS, policy=TIMEOUT), 60),
        "put 300 dicts": (lambda: client.put(key("nested"), NESTED, policy=TIMEOUT), 150),
    }
    for each in [key("speed"), *KEYS]:
        client.put(each, BINS, policy=TIMEOUT)
    gc.disable()
    found = {}
    for name, (call, count) in calls.items():
        for _ in range(count // 10):
            call()
        begun = time.thread_time()
        for _ in range(count):
            call()
        found[name] = round((time.thread_time() - begun) / count * 1e6, 2)
    client.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
