"""Scenarios that break the official client without its patches. Each runs in a fresh process; see run.py.

A scenario returns if all is well. It fails by an exception, by a signal, or by not ending in time.
"""

import gc
import importlib.abc
import importlib.metadata
import importlib.util
import os
import sys
import threading
import time
import warnings
import weakref

HOSTS = [(os.environ.get("AEROSPIKE_HOST", "127.0.0.1"), int(os.environ.get("AEROSPIKE_PORT", "3000")))]
CONFIG = {"hosts": HOSTS, "connect_timeout": 20_000}
TIMEOUT = {"total_timeout": 20_000, "socket_timeout": 20_000, "max_retries": 2}
THREADS = 8


def connect(**more):
    import aerospike

    return aerospike.client(CONFIG | more).connect()


def key(name):
    return ("test", "patches", name)


def together(*works):
    """Runs functions in threads of their own that start at the same moment; raises the first exception."""
    barrier = threading.Barrier(len(works))
    errors = []

    def run(work):
        barrier.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def for_seconds(seconds, work):
    """A function that repeats another one for some time."""

    def loop():
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            work()

    return loop


def accept(*exceptions):
    """A decorator: these exceptions are results like others."""

    def decorate(work):
        def run():
            try:
                work()
            except exceptions:
                pass

        return run

    return decorate


def tasks():
    """How many threads the system counts in this process."""
    return len(os.listdir("/proc/self/task"))


def ends_with_tasks(count):
    """Waits until no more than this many threads are left."""
    for _ in range(100):
        if tasks() <= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"{tasks() - count} threads are left of clusters that nobody closes")


# 0001: helper modules


def import_half_done():
    """A batch read while another thread is in the middle of importing the helper module."""
    client = connect()
    name = "aerospike_helpers.batch.records"
    importing = threading.Event()

    class Slow(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        def find_spec(self, fullname, path, target=None):
            if fullname != name:
                return None
            sys.meta_path.remove(self)
            self.real = importlib.util.find_spec(fullname)
            return importlib.util.spec_from_loader(fullname, self, origin=self.real.origin)

        def exec_module(self, module):
            # The module is in sys.modules now, and empty.
            importing.set()
            time.sleep(0.3)
            module.__file__ = self.real.origin
            self.real.loader.exec_module(module)

    sys.meta_path.insert(0, Slow())

    def read():
        importing.wait()
        assert len(client.batch_read([key(1)]).batch_records) == 1

    together(lambda: importlib.import_module(name), read)
    client.close()


def first_batch_read():
    """The first batch read of a process, in 16 threads at the same time."""
    client = connect()
    keys = [key(number) for number in range(20)]

    def read():
        for _ in range(3):
            assert len(client.batch_read(keys, policy=TIMEOUT).batch_records) == 20

    together(*[read] * 16)
    client.close()


# 0002: errors


def error_kept():
    """An exception that was caught does not change when another one is raised. No threads."""
    from aerospike import exception

    client = connect()
    caught = []
    for number in range(2):
        try:
            client.get(key(f"missing {number}"), TIMEOUT)
        except exception.RecordNotFound as error:
            caught.append(error)
    try:
        client.put(key("missing"), 17, policy=TIMEOUT)
    except exception.ParamError:
        pass
    client.close()
    for number, error in enumerate(caught):
        assert error.key == key(f"missing {number}"), f"{error.key} in the exception of {key(f'missing {number}')}"
        assert (error.code, error.msg, error.file, error.line, error.in_doubt) == error.args
        assert error.subcode == 0 and error.bin is None
    assert exception.RecordNotFound.key is None and exception.RecordNotFound.code == 2


def error_mix_up():
    """Eight threads ask 200 times each for a missing key of their own and compare the key in the exception."""
    from aerospike import exception

    client = connect()
    wrong = []

    def ask(number):
        for _ in range(200):
            try:
                client.get(key(f"missing {number}"), TIMEOUT)
            except exception.RecordNotFound as error:
                if error.key != key(f"missing {number}"):
                    wrong.append(error.key)

    together(*(lambda number=number: ask(number) for number in range(THREADS)))
    client.close()
    assert not wrong, f"{len(wrong)} of {THREADS * 200} exceptions had the key of another thread"


# 0003: log


@accept(Exception)
def log_something():
    import aerospike

    # The constructor logs before it refuses this.
    aerospike.client({})


def log_handler_taken_away():
    """What is no callable replaces the log handler. No threads."""
    import aerospike

    aerospike.set_log_level(aerospike.LOG_LEVEL_TRACE)
    aerospike.set_log_handler(lambda *_: None)
    aerospike.set_log_handler(17)
    log_something()


def log_handler_exchange():
    """Threads replace the log handler while others log."""
    import aerospike

    aerospike.set_log_level(aerospike.LOG_LEVEL_TRACE)

    def exchange():
        # Each is a function of its own.
        aerospike.set_log_handler(lambda *arguments: arguments)

    exchange()
    together(*[for_seconds(0.4, exchange)] * 2, *[for_seconds(0.4, log_something)] * 4)
    aerospike.set_log_handler(None)


# 0004: serializers


class Value:
    """What only a serializer of the user's can write."""


class Serializer:
    def __call__(self, value):
        return "x" if isinstance(value, Value) else value


def serializer_of_configuration():
    """The client keeps the serializer of its configuration. No threads."""
    serializer = Serializer()
    alive = weakref.ref(serializer)
    client = connect(serialization=(serializer, None))
    del serializer
    gc.collect()
    assert alive() is not None, "the client does not hold the serializer that it will call"
    client.put(key("serializer"), {"value": Value()}, policy=TIMEOUT)
    client.close()


def serializer_exchange():
    """Threads replace the registered serializer while others write with it."""
    import aerospike
    from aerospike import exception

    client = connect()
    aerospike.set_serializer(Serializer())

    @accept(exception.AerospikeError)  # between unset and set there is none
    def write():
        client.put(key("serializer"), {"value": Value()}, policy=TIMEOUT, serializer=aerospike.SERIALIZER_USER)

    @accept(exception.AerospikeError)
    def write_otherwise():
        client.put(key("serializer 2"), {"value": 1}, policy=TIMEOUT)

    def exchange():
        aerospike.set_serializer(Serializer())
        aerospike.unset_serializers()

    together(*[for_seconds(0.4, write)] * 3, *[for_seconds(0.4, write_otherwise)] * 2, *[for_seconds(0.4, exchange)] * 2)
    client.close()


# 0005: connections


def connect_twice():
    """Threads connect one client at the same time: one cluster, which close() ends."""
    client = connect()
    client.close()
    before = tasks()
    for _ in range(5):
        together(*[client.connect] * THREADS)
        assert client.is_connected()
        client.get_stats()
        client.close()
    ends_with_tasks(before)


def shared_connections():
    """Threads open and close clients that share their connections."""
    first = connect(use_shared_connection=True)
    first.put(key("shared"), {"a": 1}, policy=TIMEOUT)
    first.close()
    before = tasks()

    def work():
        for _ in range(5):
            client = connect(use_shared_connection=True)
            assert client.get(key("shared"), TIMEOUT)[2] == {"a": 1}
            client.close()

    together(*[work] * THREADS)
    ends_with_tasks(before)


# 0006: waiting


def destructor_and_listener():
    """The destructor waits for a thread that calls a listener, which collects garbage."""
    from aerospike_helpers.metrics import MetricsListeners, MetricsPolicy

    client = connect(tend_interval=250)
    called = threading.Event()

    def nothing(*_):
        pass

    def snapshot(_cluster):
        called.set()
        time.sleep(0.5)
        # Without the GIL this stops all threads, for which each must be at a safe place.
        gc.collect()

    listeners = MetricsListeners(
        enable_listener=nothing, disable_listener=nothing, node_close_listener=nothing, snapshot_listener=snapshot
    )
    client.enable_metrics(MetricsPolicy(metrics_listeners=listeners, interval=1))
    assert called.wait(10), "the listener was not called"
    del client


# 0007: close


def closed_client():
    """Methods of a closed client raise an error. No threads."""
    from aerospike import exception

    client = connect()
    client.close()
    for call in (client.get_stats, client.enable_metrics, client.disable_metrics):
        try:
            call()
        except exception.ClusterError:
            continue
        raise AssertionError(f"{call.__name__} of a closed client did not raise ClusterError")


def close_against_use():
    """A thread closes and connects a client again and again while others use it."""
    from aerospike import exception

    client = connect()
    client.put(key("used"), {"a": 1}, policy=TIMEOUT)
    before = tasks()
    keys = [key(number) for number in range(10)]

    @accept(exception.ClusterError)  # while it is closed
    def get():
        assert client.get(key("used"), TIMEOUT)[2] == {"a": 1}

    @accept(exception.ClusterError)
    def read():
        for each in client.batch_read(keys, policy=TIMEOUT).batch_records:
            assert each.result in (0, 2)

    def close():
        client.close()
        client.connect()

    together(*[for_seconds(0.6, get)] * 3, *[for_seconds(0.6, read)] * 2, for_seconds(0.6, close))
    client.close()
    ends_with_tasks(before)


def close_in_two_threads():
    """Two threads close and connect one client."""
    from aerospike import exception

    client = connect()
    before = tasks()

    @accept(exception.ClusterError)
    def get():
        client.exists(key("used"), TIMEOUT)

    def close():
        client.close()
        client.connect()

    together(*[for_seconds(0.5, close)] * 3, *[for_seconds(0.5, get)] * 2)
    client.close()
    ends_with_tasks(before)


# 0008: arguments


def list_shrinks():
    """A serializer empties the list that is being written. No threads."""
    client_values = [Value(), *range(100)]

    def serializer(_value):
        client_values.clear()
        return "x"

    client = connect(serialization=(serializer, None))
    client.put(key("list"), {"value": client_values}, policy=TIMEOUT)
    assert client_values == []
    client.close()


def shared_arguments():
    """A policy, bins, operations and keys that another thread changes while they are in use."""
    import aerospike
    from aerospike import exception

    client = connect()
    policy, bins, listed, operations, keys = {}, {}, [], [], []

    def change():
        # New objects each time: the previous ones are freed.
        policy.clear()
        policy.update(total_timeout=20_000 + int(time.monotonic()), socket_timeout=20_000, max_retries=2 + 0)
        listed.clear()
        listed.extend(f"text {number}" for number in range(50))
        bins.clear()
        bins.update({f"bin {number}": [f"text {number}", listed, {"a": f"value {number}"}] for number in range(5)})
        operations.clear()
        operations.extend(
            {"op": aerospike.OPERATOR_WRITE, "bin": f"bin {number}", "val": f"value {number}"} for number in range(5)
        )
        keys.clear()
        keys.extend(key(f"key {number}") for number in range(20))

    change()

    @accept(exception.AerospikeError)  # of empty bins and operations
    def put():
        client.put(key("arguments"), bins, policy=policy)

    @accept(exception.AerospikeError)
    def operate():
        client.operate(key("arguments"), operations, policy=policy)

    @accept(exception.AerospikeError)
    def read():
        client.batch_read(keys, policy=policy)

    works = [put, operate, read, put]
    together(*(for_seconds(0.4, work) for work in works), *[for_seconds(0.4, change)] * 2)
    client.close()


# 0009: objects


def geojson_without_data():
    """The data of a GeoJSON object can be deleted. No threads."""
    import aerospike

    geo = aerospike.GeoJSON({"type": "Point", "coordinates": [1.0, 2.0]})
    del geo.geo_data
    assert geo.unwrap() is None


def geojson():
    """Threads replace and read the data of one GeoJSON object."""
    import aerospike

    geo = aerospike.GeoJSON({"type": "Point", "coordinates": [1.0, 2.0]})

    def wrap():
        geo.wrap({"type": "Point", "coordinates": [1.0, time.monotonic()]})

    def load():
        geo.loads('{"type": "Point", "coordinates": [3.0, 4.0]}')

    def read():
        assert geo.unwrap()["type"] == "Point" and "Point" in str(geo)

    together(*[for_seconds(0.3, work) for work in (wrap, wrap, load, read, read, read)])


def transaction():
    """Threads initialize one transaction again while others use it."""
    import aerospike

    transaction = aerospike.Transaction()

    def again():
        transaction.__init__(reads_capacity=64, writes_capacity=64)

    def read():
        assert transaction.id != 0 and transaction.timeout == 10 and not transaction.in_doubt

    transaction.timeout = 10
    together(*[for_seconds(0.3, again)] * 2)
    transaction.timeout = 10

    def again_once():
        for _ in range(300):
            again()
            transaction.timeout = 10

    def read_id():
        assert transaction.id != 0

    together(again_once, again_once, *[for_seconds(0.2, read_id)] * 3)
    read()


def query_predicates():
    """Threads add a predicate to one query: it has room for one."""
    from aerospike import exception, predicates

    client = connect()
    queries = [client.query("test", "patches") for _ in range(300)]
    added = [[] for _ in queries]
    at = [0, 0]
    end = time.monotonic() + 1

    def where(me):
        for number, query in enumerate(queries):
            # Both threads come to the same query at the same moment.
            at[me] = number
            while at[1 - me] < number:
                if time.monotonic() > end:
                    return
            try:
                query.where(predicates.equals("bin", "text"))
                added[number].append(me)
            except exception.AerospikeError:
                pass

    together(lambda: where(0), lambda: where(1))
    twice = sum(len(each) > 1 for each in added)
    client.close()
    assert not twice, f"both threads added a predicate to {twice} of {len(queries)} queries: there is room for one"


def query_executed_twice():
    """Threads execute one query with a stream UDF, whose arguments each execution destroys.

    Ends with errors on servers without queries, too: the arguments are destroyed then as well."""
    from aerospike import exception

    client = connect()
    for _ in range(15):
        query = client.query("test", "patches")
        query.apply("module", "function", ["text" * 1000, [1, 2, 3] * 100, {"a": "b"}])

        @accept(exception.AerospikeError)
        def execute(query=query):
            query.foreach(lambda _record: None, TIMEOUT)

        together(*[execute] * 4)
    client.close()


def batch_records_shared():
    """Threads write the same BatchRecords."""
    from aerospike_helpers.batch import records
    from aerospike_helpers.operations import operations

    client = connect()
    batch = records.BatchRecords([records.Write(key(number), [operations.write("a", number)]) for number in range(200)])

    def write():
        client.batch_write(batch, TIMEOUT)
        assert batch.result == 0

    together(*[for_seconds(0.4, write)] * 4)
    client.close()


# 0010: byte arrays


def bytearray_changes():
    """A byte array is written while another thread changes its size."""
    client = connect()
    small, large = b"a" * 10, b"b" * 100_000
    value = bytearray(small)

    def change():
        value[:] = large
        value[:] = small

    def write(name):
        def work():
            client.put(key(name), {"value": value}, policy=TIMEOUT)
            found = bytes(client.get(key(name), TIMEOUT)[2]["value"])
            assert found in (small, large), f"{len(found)} bytes that were never in it: {found[:20]!r}"

        return work

    together(for_seconds(0.5, change), *(for_seconds(0.5, write(f"bytes {number}")) for number in range(3)))
    client.close()


# 0011, 0012


def version():
    """The version says that it is patched."""
    found = importlib.metadata.version("aerospike")
    assert "+" in found, f"version {found} has no local part"


def declared():
    """The module declares that it runs without the GIL. Without PYTHON_GIL in the environment."""
    if not hasattr(sys, "_is_gil_enabled") or not __import__("sysconfig").get_config_var("Py_GIL_DISABLED"):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import aerospike  # noqa: F401
    assert not sys._is_gil_enabled()


declared.environment = {"PYTHON_GIL": None}


# 0013: Lua


def clients_connect():
    """Clients connect at the same time. Only ThreadSanitizer sees what goes wrong: it reports `aerospike_init_lua`."""
    together(*[lambda: connect().close()] * THREADS)


# 0014: log callback


@accept(Exception)
def connect_nowhere():
    import aerospike

    # The C library logs that no server listens there.
    aerospike.client({"hosts": [("127.0.0.1", 1)]}).connect()


def logging_off_and_on():
    """Threads change the log level and the handler while others log. Only ThreadSanitizer sees what goes wrong."""
    import aerospike

    def switch():
        for level in [aerospike.LOG_LEVEL_TRACE, aerospike.LOG_LEVEL_OFF, aerospike.LOG_LEVEL_WARN]:
            aerospike.set_log_level(level)
        aerospike.set_log_handler(None)
        aerospike.set_log_handler(lambda *_: None)

    switch()
    together(*[for_seconds(0.4, switch)] * 2, *[for_seconds(0.4, connect_nowhere)] * 4)
    aerospike.set_log_handler(None)


# 0015: connected or not


def connected_or_not():
    """Threads use a client while others close and connect it. Only ThreadSanitizer sees what goes wrong."""
    client = connect()

    @accept(Exception)
    def get():
        client.get(key("nobody"), TIMEOUT)

    def close():
        client.close()
        client.connect()

    together(*[for_seconds(0.4, get)] * 2, *[for_seconds(0.4, client.is_connected)] * 2, *[for_seconds(0.4, close)] * 2)
    client.close()


# 0016: transactions


def transaction_attributes():
    """Threads use a transaction while others initialize it again. Only ThreadSanitizer sees what goes wrong."""
    import aerospike

    client = connect()
    transaction = aerospike.Transaction()

    def read():
        assert transaction.id != 0 and transaction.state == aerospike.TXN_STATE_OPEN and not transaction.in_doubt

    def set_timeout():
        transaction.timeout = 10
        assert transaction.timeout in (0, 10)

    @accept(Exception)  # of servers without transactions
    def put():
        client.put(key("transaction"), {"a": 1}, policy=TIMEOUT | {"txn": transaction})

    for works in ([read, read, set_timeout, set_timeout], [read, read, put]):
        together(*[for_seconds(0.3, work) for work in [transaction.__init__, *works]])
    client.close()


# 0017: executions


def wrong_arguments():
    """A call of foreach() without its argument leaves the query as it was. No threads. Needs a server with queries."""
    client = connect()
    client.put(("test", "patches arguments", 1), {"a": 1, "b": 2}, policy=TIMEOUT)
    query = client.query("test", "patches arguments").select("a")
    accept(TypeError)(query.foreach)()
    found = [set(bins) for _, _, bins in query.results(TIMEOUT)]
    client.close()
    assert found == [{"a"}], f"of the selected bin `a` this was read: {found}"


def executions_overlap():
    """Threads execute one query and one scan with different options, while another thread changes them."""
    from aerospike import exception

    client = connect()
    for number in range(10):
        client.put(("test", "patches overlap", number), {"a": 1}, policy=TIMEOUT)
    wrong = []

    def execute(source, nobins):
        def check(record):
            if bool(record[2]) == nobins:
                wrong.append(record)

        return accept(exception.AerospikeError)(lambda: source.foreach(check, TIMEOUT, {"nobins": nobins}))

    for source in (client.query("test", "patches overlap"), client.scan("test", "patches overlap")):

        @accept(exception.ClientError)  # while it is executed
        def again(source=source):
            source.__init__("test", "patches overlap")

        def change(source=source):
            source.ttl = 10

        works = [execute(source, True), execute(source, False)] * 2 + [again, change]
        together(*[for_seconds(0.5, work) for work in works])
    client.close()
    assert not wrong, f"{len(wrong)} records had bins that were not asked for, or none: {wrong[0]}"


# By patch, in its order.
SCENARIOS = {
    "0001": [import_half_done, first_batch_read],
    "0002": [error_kept, error_mix_up],
    "0003": [log_handler_taken_away, log_handler_exchange],
    "0004": [serializer_of_configuration, serializer_exchange],
    "0005": [connect_twice, shared_connections],
    "0006": [destructor_and_listener],
    "0007": [closed_client, close_against_use, close_in_two_threads],
    "0008": [list_shrinks, shared_arguments],
    "0009": [
        geojson_without_data,
        geojson,
        transaction,
        query_predicates,
        query_executed_twice,
        batch_records_shared,
    ],
    "0010": [bytearray_changes],
    "0011": [version],
    "0012": [declared],
    "0013": [clients_connect],
    "0014": [logging_off_and_on],
    "0015": [connected_or_not],
    "0016": [transaction_attributes],
    "0017": [wrong_arguments, executions_overlap],
}
