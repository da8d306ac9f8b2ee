"""Importing, connecting and closing a client."""

import gc
import importlib.abc
import importlib.metadata
import importlib.util
import sys
import threading
import time
import warnings

from scenarios.common import (
    CONFIG,
    THREADS,
    TIMEOUT,
    accept,
    connect,
    ends_with_tasks,
    for_seconds,
    key,
    tasks,
    together,
)

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


# 0019: a second __init__()


def initialized_twice():
    """A second __init__() closes the cluster of the first. No threads."""
    client = connect()
    before = tasks()
    for _ in range(3):
        client.__init__(CONFIG)
    assert client.is_connected()
    client.exists(key("used"), TIMEOUT)
    ends_with_tasks(before)
    client.close()


def initialized_in_callback():
    """A callback cannot initialize the client that calls it. Needs a server with queries."""
    from aerospike import exception

    client = connect()
    client.put(key("used"), {"a": 1}, policy=TIMEOUT)
    before = tasks()
    refused = []

    def callback(_record):
        try:
            client.__init__(CONFIG)
        except exception.ClientError as error:
            refused.append(error)

    client.query("test", "patches").foreach(callback, TIMEOUT)
    assert refused and client.is_connected()
    client.close()
    ends_with_tasks(before)


def initialize_against_use():
    """A thread initializes a client again and again while others use it."""
    from aerospike import exception

    client = connect()
    client.put(key("used"), {"a": 1}, policy=TIMEOUT)
    before = tasks()

    @accept(exception.ClusterError)  # while it is initialized
    def get():
        assert client.get(key("used"), TIMEOUT)[2] == {"a": 1}
        # A moment in which the client can be initialized.
        time.sleep(0.005)

    @accept(exception.ClusterError)
    def read():
        client.get_policies()
        client.get_nodes()
        client.is_connected()
        time.sleep(0.005)

    @accept(exception.ClientError)  # while it is used
    def again():
        client.__init__(CONFIG | {"serialization": (None, None)})

    together(*[for_seconds(0.6, get)] * 2, for_seconds(0.6, read), *[for_seconds(0.6, again)] * 2)
    again()
    get()
    client.close()
    ends_with_tasks(before)
