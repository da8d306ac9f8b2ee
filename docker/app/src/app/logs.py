"""Logs as JSON, one object a line, on standard error."""

import json
import logging
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock
from time import monotonic

_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class Seldom(logging.Filter):
    """Lets one line in ten seconds through from each logger of aerospike-py, and counts the others.

    While the server is lost it logs every attempt of every request, thousands of lines a minute;
    app.stores says once that it is lost. Its loggers have no common parent: their names are Rust's.
    """

    EVERY_S = 10.0

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = Lock()
        self._next: dict[str, float] = {}
        self._held_back: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        name = record.name
        if not name.startswith(("aerospike_core", "_aerospike")):
            return True
        with self._lock:
            now = self._clock()
            if now < self._next.get(name, now):
                self._held_back[name] += 1
                return False
            self._next[name] = now + self.EVERY_S
            record.held_back = self._held_back.pop(name, 0)
        return True


def configure(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(Seldom())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # The interpreter's warnings too: the one about the GIL is such.
    logging.captureWarnings(capture=True)
