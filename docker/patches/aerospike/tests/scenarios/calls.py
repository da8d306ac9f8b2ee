"""Errors, logs, serializers and arguments of calls."""

import gc
import time
import weakref

from scenarios.common import THREADS, TIMEOUT, accept, connect, for_seconds, key, together

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


# 0014: log callback


@accept(Exception)
def connect_nowhere():
    import aerospike

    # No server listens on this port, so the C library writes messages to the log.
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


# 0022: metrics


def first_errors():
    """Threads meet the first errors of a client while others read its statistics.

    Only ThreadSanitizer sees what goes wrong."""
    import aerospike
    from aerospike import exception

    policy = TIMEOUT | {"exists": aerospike.POLICY_EXISTS_CREATE}
    for _ in range(10):
        client = connect()
        client.put(key("exists"), {"a": 1}, policy=TIMEOUT)

        @accept(exception.RecordExistsError)
        def create(client=client):
            client.put(key("exists"), {"a": 1}, policy=policy)

        together(*[create] * 4, *[client.get_stats] * 2)
        client.close()
