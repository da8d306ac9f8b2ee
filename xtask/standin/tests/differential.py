"""The same calls with both clients, to see that the stand-in answers as a real server does.

    differential.py record HOST:PORT > real.jsonl      # both clients; needs the namespace `test`
    differential.py record HOST:PORT > standin.jsonl
    differential.py compare real.jsonl standin.jsonl   # exit code 1, and what differs

The first line of a recording says which server it was. `compare` also holds the clients against each
other, within the second recording; what they are known to see differently is listed in `CLIENTS_DIFFER`.

It runs in any environment that has both clients: the images `311` and `314t-with-official` do. The
folder `data` has what a real server answered: the Community Edition's source of 8.1.2.0, which called
itself 8.1.1.2. Its namespace had `nsup-period 10`, or it would refuse to let records expire, and kept
its data in memory.
"""

import argparse
import hashlib
import json
import sys
import time

NAMESPACE = "test"
SET = "differential"
NEVER = 0xFFFFFFFF
KEEP = 0xFFFFFFFE

# The clients, not the server, make these differences.
CLIENTS_DIFFER = {
    "an answer to each operation": "aerospike-py gathers several answers for one bin",
    "order of maps": "aerospike-py has no ordered type, and shuffles what it gets",
    "batches that end at an error": "each has its own view of the rows before it",
    "geojson": "aerospike-py has no type for it when writing",
    "map key that is none": "the official client leaves the pair out",
    "names too long": "one client or the other refuses them before it sends",
    "string with a null": "it ends there for the official client",
    "wrong namespace": "each client has its own error for a namespace that no node has",
}


class Official:
    """The vendor's client, on the C client."""

    name = "official"
    exists = {"create": 1, "update": 2, "replace": 3, "create or replace": 4}

    def __init__(self, host, port):
        import aerospike
        import aerospike_helpers.batch.records as records
        import aerospike_helpers.operations.operations as operations

        self.records, self.operations, self.module = records, operations, aerospike
        policies = {"timeout": 10_000, "total_timeout": 10_000}
        config = {"hosts": [(host, port)], "policies": {p: policies for p in ("read", "write", "operate", "batch")}}
        self.client = aerospike.client(config).connect()

    def policy(self, options):
        policy = {}
        if "exists" in options:
            policy["exists"] = self.exists[options["exists"]]
        if "check" in options:
            policy["gen"] = {"equal": 1, "greater": 2}[options["check"]]
        if "send_key" in options:
            policy["key"] = 1
        return policy

    def meta(self, options):
        names = {"ttl": "ttl", "generation": "gen"}
        return {names[n]: v for n, v in options.items() if n in names}

    def put(self, key, bins, **options):
        self.client.put(key, bins, self.meta(options), self.policy(options))

    def get(self, key, **options):
        return self.client.get(key, self.policy(options))

    def select(self, key, bins):
        return self.client.select(key, bins)

    def remove(self, key, **options):
        self.client.remove(key, self.meta(options), self.policy(options))

    def exists_(self, key):
        return self.client.exists(key)[1] is not None

    def touch(self, key, ttl):
        self.client.touch(key, ttl)

    def increment(self, key, name, by):
        self.client.increment(key, name, by)

    def join(self, which, key, name, value):
        getattr(self.client, which)(key, name, value)

    def remove_bin(self, key, names):
        self.client.remove_bin(key, names)

    def op(self, kind, name=None, value=None):
        make = getattr(self.operations, kind)
        return make() if kind == "touch" else make(name) if kind == "read" else make(name, value)

    def operate(self, key, ops):
        return self.client.operate(key, [self.op(*op) for op in ops])

    def batch_read(self, keys, bins=None):
        rows = []
        for one in self.client.batch_read(keys, bins).batch_records:
            rows.append([one.result, one.record and meta(one.record[1]), one.record and one.record[2]])
        return rows

    def batch_write(self, rows, **policy):
        write = lambda key, bins, options: self.records.Write(
            key, [self.operations.write(n, v) for n, v in bins.items()], self.meta(options), self.policy(options)
        )
        batch = self.records.BatchRecords([write(*row) for row in rows])
        self.client.batch_write(batch, policy)
        return [one.result for one in batch.batch_records]

    def batch_remove(self, keys):
        return [one.result for one in self.client.batch_remove(keys).batch_records]

    def batch_operate(self, keys, ops):
        done = self.client.batch_operate(keys, [self.op(*op) for op in ops]).batch_records
        return [[one.result, one.record and one.record[2]] for one in done]

    def operate_ordered(self, key, ops):
        _, found, bins = self.client.operate_ordered(key, [self.op(*op) for op in ops])
        return [meta(found), bins]

    def geojson(self, text):
        return self.module.GeoJSON(text)

    def ordered(self, pairs):
        return self.module.KeyOrderedDict(pairs)

    def in_order(self, found):
        return [[key, value if not isinstance(value, dict) else self.in_order(value)] for key, value in found.items()]

    def info(self, command):
        (answer,) = self.client.info_all(command).values()
        return answer[1].rpartition("\t")[2].strip()


class AerospikePy(Official):
    """aerospike-py, on the Rust client."""

    name = "aerospike-py"
    exists = {"create": 4, "update": 1, "replace": 3, "create or replace": 2}

    def __init__(self, host, port):
        import aerospike_py

        self.module = aerospike_py
        self.client = aerospike_py.client({"hosts": [(host, port)], "timeout": 10_000}).connect()

    def meta(self, options):
        signed = {NEVER: -1, KEEP: -2}
        return {n: signed.get(v, v) for n, v in super().meta(options).items()}

    def exists_(self, key):
        return self.client.exists(key).meta is not None

    def op(self, kind, name=None, value=None):
        codes = {"read": 1, "write": 2, "increment": 5, "append": 9, "prepend": 10, "touch": 11}
        return {"op": codes[kind], "bin": name, "val": value}

    def batch_write(self, rows, **policy):
        # A generation in a row is one to be equal to.
        done = self.client.batch_write([(k, b, {**self.policy(o), **self.meta(o)}) for k, b, o in rows], policy)
        return [one.result for one in done.batch_records]

    def geojson(self, text):
        raise NotImplementedError("geojson")

    def ordered(self, pairs):
        raise NotImplementedError("ordered maps")

    def in_order(self, found):
        raise NotImplementedError("it shuffles maps")

    def info(self, command):
        answer = self.client.info_all(command)[0].response
        return answer.rpartition("\t")[2].strip()


def attempt(call, *arguments, **options):
    """What came back, or the code of the error; negative codes are the clients' own."""
    try:
        return shown(call(*arguments, **options))
    except (TypeError, AttributeError, KeyError):
        raise  # a mistake of this test
    except Exception as error:
        code = getattr(error, "code", getattr(error, "result_code", None))
        return {"code": code if isinstance(code, int) and code > 0 else "client"}


def shown(value):
    """As JSON that keeps apart what Python keeps apart; what is long as its length and its hash."""
    short = plain(value)
    text = json.dumps(short)
    return short if len(text) < 500 else {"length": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def plain(value):
    """Maps are sorted: one client shuffles them."""
    if isinstance(value, dict):
        return {"map": sorted(([plain(k), plain(v)] for k, v in value.items()), key=json.dumps)}
    if isinstance(value, tuple) and len(value) == 3:
        return {"meta": meta(value[1]), "bins": plain(value[2])}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": value.hex()}
    if isinstance(value, float):
        return {"float": value.hex()}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return {"other": type(value).__name__, "text": str(value)}


def meta(found):
    """A TTL shrinks while the test runs: it is told to the next hundred seconds."""
    if found is None:
        return None
    generation, ttl = (found["gen"], found["ttl"]) if isinstance(found, dict) else (found.gen, found.ttl)
    ttl = "never" if ttl in (NEVER, -1) else -(-ttl // 100) * 100
    return {"generation": generation, "ttl": ttl}


VALUES = {
    "integer": [0, 1, -1, 127, 128, 2**31, 2**63 - 1, -(2**63)],
    "float": [0.0, -0.0, 1.5, 1e300, float("inf")],
    "string": ["", "a", "Zürich", "𝄞", "x" * 70_000],
    "bytes": [b"", b"\x00\xff", bytes(range(256)) * 300],
    "bool": [True, False],
    "list": [[], [1], [None, True, 1.5, "a", b"b", -1], list(range(70_000)), [[[[[]]]]], ["x" * 40, 2**40]],
    "map": [{}, {"a": 1}, {2: "b", 1: "a"}, {b"k": None}, {"b": {"d": 1, "c": [2]}, "a": {}}, {i: i for i in range(300)}],
    "none": [None],
    "mixed keys": [{"a": 1, 2: 3, b"c": 4, -5: 6}],
    "map key that is none": [{"a": {None: 1}}],
    "string with a null": ["a\u0000b"],
}


def cases(c, k):
    """Every case yields one thing after another; `k` makes keys that no other case uses."""

    def values(name):
        for number, value in enumerate(VALUES[name]):
            key = k(f"{name}{number}")
            yield attempt(c.put, key, {"v": value, "w": 1})
            yield attempt(c.get, key)

    for name in VALUES:
        yield name, lambda name=name: values(name)

    def geojson():
        for text in ('{"type":"Point","coordinates":[8.5,47.4]}', '{"type":"Point"}', "{", "[]"):
            key = k("geo" + text)
            yield attempt(lambda: c.put(key, {"g": c.geojson(text)}))
            yield attempt(c.get, key)

    yield "geojson", geojson

    def order():
        key = k("order")
        yield attempt(lambda: c.put(key, {"v": c.ordered({"b": {"z": 1, "y": 2}, "a": 1, 3: 2})}))
        yield attempt(c.get, key)
        yield attempt(c.put, key, {"v": {"b": {"z": 1, "y": 2}, "a": 1, 3: 2, b"a": 0, -1: 0}})
        yield attempt(lambda: c.in_order(c.get(key)[2]["v"]))

    yield "order of maps", order

    def missing():
        key = k("missing")
        yield attempt(c.get, key)
        yield attempt(c.select, key, ["a"])
        yield attempt(c.exists_, key)
        yield attempt(c.remove, key)
        yield attempt(c.touch, key, 100)
        yield attempt(c.remove_bin, key, ["a"])
        yield attempt(c.operate, key, [("read", "a")])
        yield attempt(c.put, key, {"a": None})
        yield attempt(c.exists_, key)

    yield "missing records", missing

    def selected():
        key = k("selected")
        yield attempt(c.put, key, {"a": 1, "b": "two", "c": [3]})
        yield attempt(c.select, key, ["a", "c"])
        yield attempt(c.select, key, ["gone"])
        yield attempt(c.select, key, ["a", "gone"])
        yield attempt(c.exists_, key)

    yield "selected bins", selected

    def bins():
        key = k("bins")
        yield attempt(c.put, key, {"a": 1, "b": 2, "c": 3, "d": 4})
        yield attempt(c.remove_bin, key, ["a"])
        yield attempt(c.put, key, {"b": None})
        yield attempt(c.get, key)
        yield attempt(c.put, key, {"c": "other type"})
        yield attempt(c.get, key)
        yield attempt(c.remove_bin, key, ["c", "d"])
        yield attempt(c.exists_, key)
        yield attempt(c.put, key, {"x" * 15: 1})
        yield attempt(c.put, key, {})
        yield attempt(c.get, key)

    yield "bins", bins

    def generations():
        key = k("generation")
        for _ in range(3):
            yield attempt(c.put, key, {"a": 1})
        yield attempt(c.put, key, {"a": 2}, generation=2, check="equal")
        yield attempt(c.put, key, {"a": 3}, generation=3, check="equal")
        yield attempt(c.put, key, {"a": 4}, generation=4, check="greater")
        yield attempt(c.put, key, {"a": 5}, generation=9, check="greater")
        yield attempt(c.get, key)
        yield attempt(c.remove, key, generation=2, check="equal")
        yield attempt(c.remove, key, generation=5, check="equal")
        yield attempt(c.put, key, {"a": 6}, generation=5, check="equal")
        yield attempt(c.put, key, {"a": 7}, generation=0, check="equal")
        yield attempt(c.get, key)

    yield "generation policy", generations

    def existence():
        key = k("existence")
        for policy in ("update", "replace", "create", "create", "update", "replace", "create or replace"):
            yield attempt(c.put, key, {policy[:15]: 1}, exists=policy)
            yield attempt(c.get, key)
        yield attempt(c.put, k("new"), {"a": 1}, exists="create or replace")
        yield attempt(c.put, key, {"a": None}, exists="create or replace")

    yield "record-exists policy", existence

    def expiry():
        key = k("expiry")
        for ttl in (1000, KEEP, 0, KEEP, 5000, 300, NEVER, KEEP, 2**31, 315_360_000, 315_360_001):
            yield attempt(c.put, key, {"a": ttl % 7}, ttl=ttl)
            yield attempt(c.get, key)
        yield attempt(c.put, k("kept"), {"a": 1}, ttl=KEEP)
        yield attempt(c.get, k("kept"))
        yield attempt(c.touch, key, 777)
        yield attempt(c.get, key)
        yield attempt(c.operate, key, [("touch",), ("read", "a")])
        short = k("short")
        yield attempt(c.put, short, {"a": 1}, ttl=1)
        yield attempt(c.exists_, short)
        time.sleep(3.5)
        yield attempt(c.get, short)
        yield attempt(c.exists_, short)
        yield attempt(c.put, short, {"b": 1})
        yield attempt(c.get, short)

    yield "expiry", expiry

    def increments():
        key = k("increments")
        yield attempt(c.increment, key, "n", 5)
        yield attempt(c.increment, key, "n", -7)
        yield attempt(c.increment, key, "f", 1.5)
        yield attempt(c.increment, key, "f", 0.25)
        yield attempt(c.increment, key, "n", 0.5)
        yield attempt(c.increment, key, "f", 1)
        yield attempt(c.put, key, {"s": "text", "b": b"blob", "l": [1], "m": {1: 2}, "t": True, "max": 2**63 - 1})
        for name in ("s", "b", "l", "m", "t", "max"):
            yield attempt(c.increment, key, name, 1)
        yield attempt(c.get, key)

    yield "increments", increments

    def joins():
        key = k("joins")
        for which in ("append", "prepend"):
            yield attempt(c.join, which, key, "s", which)
            yield attempt(c.join, which, key, "s", "é")
            yield attempt(c.join, which, key, "b", b"\x01\x02")
            yield attempt(c.join, which, key, "s", b"\x01")
        yield attempt(c.put, key, {"n": 1, "l": [1]})
        yield attempt(c.join, "append", key, "n", "x")
        yield attempt(c.join, "prepend", key, "l", "x")
        yield attempt(c.get, key)

    yield "append and prepend", joins

    def operations():
        key = k("operations")
        yield attempt(c.operate, key, [("write", "a", 1), ("read", "a")])
        yield attempt(c.operate, key, [("increment", "a", 4), ("touch",), ("read", "a")])
        yield attempt(c.operate, key, [("read", "a"), ("read", "gone")])
        yield attempt(c.operate, key, [("increment", "a", 1), ("append", "a", "x")])
        yield attempt(c.operate, key, [("append", "s", "x"), ("prepend", "s", "y"), ("read", "s")])
        yield attempt(c.operate, key, [("write", "t", [1, {"z": 1, "y": 2}])])
        yield attempt(c.operate, key, [("write", "n", 1), ("increment", "n", 2), ("read", "n"), ("write", "n", "x")])
        yield attempt(c.get, key)

    yield "operate", operations

    def answers():
        key = k("answers")
        yield attempt(c.put, key, {"n": 1, "t": "x"})
        yield attempt(c.operate_ordered, key, [("read", "n"), ("write", "n", 5), ("increment", "n", 1), ("read", "n")])
        yield attempt(c.operate_ordered, key, [("read", "gone"), ("touch",), ("read", "t")])
        yield attempt(c.operate_ordered, key, [("read", "gone"), ("read", "n"), ("read", "n")])
        others = [key, k("other answers")]
        yield attempt(c.batch_operate, others, [("increment", "n", 1), ("read", "n")])
        yield attempt(c.put, key, {"n": "text"})
        yield attempt(c.batch_operate, others, [("increment", "n", 1), ("append", "s", "x"), ("read", "n")])
        yield attempt(c.batch_operate, others, [("touch",)])
        yield attempt(c.batch_read, others)

    yield "an answer to each operation", answers

    def keys():
        for user_key in (1, -1, 2**40, "1", "", "ключ", b"1", b"\x00", bytearray(b"\xff\x00")):
            key = k(user_key)
            yield attempt(c.put, key, {"a": 1}, send_key=True)
            yield attempt(c.get, key, send_key=True)
            yield attempt(c.get, key)
            yield attempt(c.remove, key, send_key=True)

    yield "types of keys", keys

    def wrong():
        yield attempt(c.put, ("nowhere", "s", 1), {"a": 1})
        yield attempt(c.get, ("nowhere", "s", 1))
        yield attempt(c.batch_read, [("nowhere", "s", 1)])
        yield attempt(c.batch_read, [k("here"), ("nowhere", "s", 1)])

    yield "wrong namespace", wrong

    def unknown_set():
        yield attempt(c.get, (NAMESPACE, "never-written", 1))
        yield attempt(c.exists_, (NAMESPACE, "never-written", 1))
        yield attempt(c.batch_read, [(NAMESPACE, "never-written", 1)])

    yield "unknown set", unknown_set

    def long_names():
        yield attempt(c.put, (NAMESPACE, "s" * 64, 1), {"a": 1})
        yield attempt(c.put, k("long names"), {"x" * 16: 1})

    yield "names too long", long_names

    def sizes():
        key = k("sizes")
        for size in (1_000_000, 1_048_000, 1_048_576, 2_000_000):
            yield attempt(c.put, key, {"b": b"x" * size})
        yield attempt(c.get, key)
        yield attempt(c.put, key, {"c": b"x" * 1_000_000})
        yield attempt(c.operate, key, [("read", "c")])

    yield "oversized records", sizes

    def limits():
        key = k("limits")
        fits = lambda size, make, options: attempt(c.put, key, make(size), exists="create or replace", **options) is None
        for make, options in (
            (lambda size: {"b": b"x" * size}, {}),
            (lambda size: {"b": b"x" * size}, {"ttl": 100}),
            (lambda size: {"s": "x" * size, "n": 1, "f": 0.5, "t": True, "big": 2**40, "minus": -1}, {}),
            (lambda size: {"l": ["x" * size]}, {}),
            (lambda size: {"m": {"k": "x" * size}, "empty": "", "l": []}, {}),
            (lambda size: {"b": b"x" * size}, {"send_key": True}),
        ):
            low, high = 1_040_000, 1_050_000
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if fits(middle, make, options) else (low, middle)
            yield low

    yield "size limits", limits

    def batches():
        all_keys = [k(f"batch{number}") for number in range(8)]
        for number, key in enumerate(all_keys[:6]):
            yield attempt(c.put, key, {"n": number, "s": f"row {number}", "v": [0.5] * number})
        yield attempt(c.batch_read, all_keys)
        yield attempt(c.batch_read, all_keys, ["n", "gone"])
        yield attempt(c.batch_read, all_keys, ["gone"])
        yield attempt(c.batch_read, all_keys[:1])
        yield attempt(c.batch_read, all_keys[6:])
        yield attempt(c.batch_read, [all_keys[0]] * 3)
        yield attempt(c.batch_remove, all_keys[2:7])
        yield attempt(c.batch_read, all_keys, ["n"])

    yield "batches of reads", batches

    def batch_writes():
        keys = [k(f"written{number}") for number in range(6)]
        rows = [(key, {"n": number, "m": {"k": number}}, {}) for number, key in enumerate(keys[:4])]
        yield attempt(c.batch_write, rows)
        rows = [
            (keys[0], {"n": 10}, {"exists": "create"}),
            (keys[1], {"n": 11}, {"ttl": 5000}),
            (keys[2], {"n": None}, {}),
            (keys[3], {"n": 13}, {"generation": 7, "check": "equal"}),
            (keys[4], {"n": 14}, {"exists": "update"}),
            (keys[5], {"b": b"x" * 1_100_000}, {}),
        ]
        yield attempt(c.batch_write, rows)
        yield attempt(c.batch_read, keys)

    yield "batches of writes", batch_writes

    def first_error():
        keys = [k(f"first{number}") for number in range(5)]
        yield attempt(c.batch_write, [(key, {"n": 1}, {}) for key in keys[:3]], respond_all_keys=False)
        rows = [(key, {"n": 2}, {"exists": "create"} if key is keys[1] else {}) for key in keys]
        yield attempt(c.batch_write, rows, respond_all_keys=False)
        yield attempt(c.batch_read, keys)

    yield "batches that end at an error", first_error

    def large_batch():
        keys = [k(f"many{number}") for number in range(1800)]
        yield attempt(c.batch_write, [(key, {"n": number, "e": [0.5] * 16}, {}) for number, key in enumerate(keys)])
        found = c.batch_read(keys)
        yield [len(found), sum(one[2]["n"] for one in found)]

    yield "large batches", large_batch


def across(clients):
    """What one client has written the other reads: digests and encodings are the same."""
    for writer in clients:
        for reader in clients:
            if writer is reader:
                continue
            results = []
            bins = {"i": 1, "f": 1.5, "s": "é", "b": b"\x00", "t": True, "l": [1, "a", b"b", None], "m": {"b": 1, "a": {1: 2.5}}}
            for user_key in (7, "seven", b"seven"):
                key = (NAMESPACE, SET, user_key)
                results.append(attempt(writer.put, key, bins))
                results.append(attempt(reader.get, key))
                results.append(attempt(reader.remove, key))
            yield f"written by {writer.name}, read by {reader.name}", results


def record(address):
    host, _, port = address.rpartition(":")
    clients = [Official(host, int(port)), AerospikePy(host, int(port))]
    out = lambda line: print(json.dumps(line, sort_keys=True), flush=True)
    out({"server": {name: clients[0].info(name) for name in ("build", "edition")}})
    for client in clients:
        made = set()

        def key(user_key):
            name = (NAMESPACE, f"{SET}-{clients.index(client)}", user_key)
            if str(user_key) not in made:
                made.add(str(user_key))
                attempt(client.remove, name)
            return name

        for name, steps in cases(client, key):
            out({"case": name, "client": client.name, "results": list(steps())})
    for name, results in across(clients):
        out({"case": name, "client": "both", "results": results})


def load(path):
    with open(path, encoding="utf-8") as file:
        first, *rest = [json.loads(line) for line in file]
    return first["server"], {(line["case"], line["client"]): line["results"] for line in rest}


def compare(real_path, other_path):
    (real_server, real), (other_server, other) = load(real_path), load(other_path)
    print(f"A: {real_server}\nB: {other_server}")
    different = 0

    def differ(what, a, b):
        nonlocal different
        steps = [number for number in range(max(len(a), len(b))) if a[number : number + 1] != b[number : number + 1]]
        for number in steps:
            different += 1
            one = lambda results: json.dumps(results[number])[:300] if number < len(results) else "nothing"
            print(f"\n{what}, step {number}:\n  A {one(a)}\n  B {one(b)}")

    for place in sorted(real.keys() | other.keys()):
        differ(f"{place[1]}: {place[0]}", real.get(place, []), other.get(place, []))
    for case in sorted({case for case, client in other if client != "both"} - CLIENTS_DIFFER.keys()):
        names = (Official.name, AerospikePy.name)
        differ(f"{case}: A official, B aerospike-py", *(other.get((case, name), []) for name in names))
    steps = sum(len(results) for results in other.values())
    print(f"\n{len(other)} cases, {steps} steps, {different} differences")
    return different


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("address")
    comparing = commands.add_parser("compare")
    comparing.add_argument("real")
    comparing.add_argument("other")
    chosen = parser.parse_args()
    if chosen.command == "record":
        record(chosen.address)
    elif compare(chosen.real, chosen.other):
        sys.exit(1)


if __name__ == "__main__":
    main()
