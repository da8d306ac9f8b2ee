"""What is logged, and how much of it."""

import json
import logging

from app.logs import JsonFormatter, Seldom


def record(name: str, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": name, "levelno": logging.WARNING, "levelname": "WARNING", **extra})


def test_one_line_of_many() -> None:
    now = [0.0]
    seldom = Seldom(lambda: now[0])
    passed = [seldom.filter(record("aerospike_core::cluster")) for _ in range(100)]
    assert passed == [True] + [False] * 99
    # Each logger has its own turn, and ours are never held back.
    assert seldom.filter(record("_aerospike::bug_report"))
    assert all(seldom.filter(record("app.stores.base")) for _ in range(100))
    now[0] += Seldom.EVERY_S
    again = record("aerospike_core::cluster")
    assert seldom.filter(again)
    assert json.loads(JsonFormatter().format(again))["held_back"] == 99


def test_a_line_is_json_with_its_extras() -> None:
    try:
        raise KeyError("lost")
    except KeyError as error:
        failed = record(
            "app", msg="two\nlines", exc_info=(KeyError, error, error.__traceback__), client_type="official"
        )
    line = JsonFormatter().format(failed)
    assert "\n" not in line
    document = json.loads(line)
    assert document["message"] == "two\nlines"
    assert document["client_type"] == "official"
    assert document["level"] == "warning"
    assert document["exception"].endswith("KeyError: 'lost'")
