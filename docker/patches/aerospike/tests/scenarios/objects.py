"""Queries, scans, GeoJSON objects, transactions and BatchRecords."""

import threading
import time

from scenarios.common import TIMEOUT, accept, connect, for_seconds, key, together

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


# 0018: status of partitions


def status_of_partitions():
    """Threads read the status of the partitions while a query and a scan with pages are executed.

    Who resumes from such a status finds all that was not read before. Needs a server with queries. Except for that,
    only ThreadSanitizer sees what goes wrong."""
    client = connect()
    expected = set(range(200))
    for number in expected:
        client.put(("test", "patches pages", number), {"number": number}, policy=TIMEOUT)

    for kind in (client.query, client.scan):
        source = kind("test", "patches pages")
        source.paginate()
        if hasattr(source, "max_records"):
            source.max_records = 30  # of a query; a scan reads it from the policy
        found = []
        kept = []
        done = threading.Event()

        def take(record, source=source, found=found, kept=kept):
            found.append(record[2]["number"])
            if len(found) % 40 == 0:
                kept.append((source.get_partitions_status(), len(found) - 1))

        def execute(source=source, done=done, take=take):
            try:
                while not source.is_done():
                    source.foreach(take, TIMEOUT | {"max_records": 30})
            finally:
                done.set()

        def read(source=source, done=done):
            while not done.is_set():
                source.is_done()
                assert len(source.get_partitions_status()) in (0, 4096 + 2)

        together(execute, read, read)
        assert sorted(found) == sorted(expected) and len(kept) == 5
        for status, position in kept:
            policy = TIMEOUT | {"partition_filter": {"begin": 0, "count": 4096, "partition_status": status}}
            resumed = {bins["number"] for _, _, bins in kind("test", "patches pages").results(policy)}
            # The record that was being handed over is not counted as read.
            assert resumed >= set(found[position:]), f"not read again: {set(found[position:]) - resumed}"
            assert len(resumed) < len(expected), "all was read again"
    client.close()


def status_in_callback():
    """A callback reads the status of the partitions of a partition filter. No threads. Needs a server with queries."""
    client = connect()
    for number in range(10):
        client.put(("test", "patches callback", number), {"a": 1}, policy=TIMEOUT)
    for source in (client.query("test", "patches callback"), client.scan("test", "patches callback")):
        read = []

        def callback(*_, source=source, read=read):
            assert not source.is_done()
            partitions = source.get_partitions_status().values()
            read.append(sum(isinstance(each, tuple) and each[1] for each in partitions))

        source.foreach(callback, TIMEOUT | {"partition_filter": {"begin": 0, "count": 4096}})
        # In each partition a record was read before. That of the callback is not counted.
        assert read == list(range(10)), f"partitions that have been read, at each record: {read}"
    client.close()


# 0020: state of transactions


def transaction_state():
    """Threads use one transaction while others end it. Only ThreadSanitizer sees what goes wrong."""
    import aerospike

    client = connect()

    for end in [client.commit, client.abort] * 10:
        transaction = aerospike.Transaction()

        def read(transaction=transaction):
            for _ in range(100):
                assert transaction.state in (
                    aerospike.TXN_STATE_OPEN,
                    aerospike.TXN_STATE_VERIFIED,
                    aerospike.TXN_STATE_COMMITTED,
                    aerospike.TXN_STATE_ABORTED,
                )
                assert not transaction.in_doubt
                transaction.timeout = 10

        @accept(Exception)  # of servers without transactions
        def put(transaction=transaction):
            client.put(key("transaction"), {"a": 1}, policy=TIMEOUT | {"txn": transaction})

        together(read, read, put, put)
        together(read, read, lambda end=end, transaction=transaction: end(transaction))
    client.close()


# 0021: a query whose __init__() fails


def query_not_initialized():
    """A second __init__() with wrong arguments leaves a query as it was. No threads. Needs a server with queries."""
    from aerospike import exception

    client = connect()
    client.put(key("used"), {"a": 1}, policy=TIMEOUT)
    query = client.query("test", "patches")
    query.paginate()
    query.max_records = 1
    assert len(query.results(TIMEOUT)) == 1
    before = query.get_partitions_status()
    accept(exception.ParamError)(query.__init__)()
    assert query.get_partitions_status() == before
    assert len(query.results(TIMEOUT)) == 1
    client.close()


# 0023: GeoJSON attribute


def geojson_attribute():
    """Threads read the data of a GeoJSON object while others replace them. Only ThreadSanitizer sees what goes wrong."""
    import aerospike

    def point():
        return {"type": "Point", "coordinates": [1.0, time.monotonic()]}

    geo = aerospike.GeoJSON(point())

    def read():
        assert geo.geo_data["type"] == "Point"

    def write():
        geo.geo_data = point()

    works = [lambda: geo.__init__(point()), lambda: geo.wrap(point()), write, read, read]
    together(*[for_seconds(0.3, work) for work in works])
