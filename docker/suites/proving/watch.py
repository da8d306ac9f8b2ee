"""Shows what a process does shortly before its time limit ends it."""

import faulthandler
import sys
import threading
import time
import traceback
from typing import TextIO


def gil() -> bool:
    return getattr(sys, "_is_gil_enabled", lambda: True)()


class Watch:
    """Writes where each thread is, if nothing is begun for almost as long as the time limit."""

    def __init__(self, limit: float, to: TextIO = sys.stderr) -> None:
        self.to = to
        self.seconds = max(limit - 2, limit / 2)
        self.by_faulthandler = gil()
        self.begun()
        if not self.by_faulthandler:
            # Without the GIL faulthandler shows one thread only.
            threading.Thread(target=self.dump, daemon=True, name="show threads").start()

    def begun(self) -> None:
        self.at = time.monotonic()
        if self.by_faulthandler:
            # Also where a call never gives the GIL back.
            faulthandler.dump_traceback_later(self.seconds, file=self.to)

    def dump(self) -> None:
        while (left := self.at + self.seconds - time.monotonic()) > 0:
            threading.Event().wait(left)
        for thread, frame in sys._current_frames().items():
            self.to.write(f"Thread {thread}:\n{''.join(traceback.format_stack(frame)[-6:])}")
        self.to.flush()
