"""Tests of what is passed on from ThreadSanitizer's logs. ThreadSanitizer itself is not needed."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from proving import sanitizer  # noqa: E402

REPORT = """==================
WARNING: ThreadSanitizer: data race (pid=7)
  Write of size 8 at 0x1 by thread T1:
    #0 bump a.c:1 (a.so+0x1)
==================
ThreadSanitizer: reported 1 warnings
"""


class Logs(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(setattr, sanitizer, "FOLDER", sanitizer.FOLDER)
        sanitizer.FOLDER = folder.name

    def log(self, pid: int, text: str) -> None:
        with open(os.path.join(sanitizer.FOLDER, f"log.{pid}"), "w", encoding="utf-8") as file:
            file.write(text)

    def test_each_report_is_taken_once_without_the_count(self) -> None:
        self.log(7, REPORT)
        self.log(8, REPORT)
        self.assertEqual(len(sanitizer.take()), 2)
        self.assertEqual(sanitizer.take(), [])

    def test_a_failure_of_the_sanitizer_is_not_lost(self) -> None:
        self.log(7, "==7==ThreadSanitizer: suppression 'x' is matched against 2 libraries\n")
        self.assertEqual(sanitizer.take(), ["==7==ThreadSanitizer: suppression 'x' is matched against 2 libraries"])


if __name__ == "__main__":
    unittest.main()
