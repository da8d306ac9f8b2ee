"""What sample_stacks.py makes of stacks: python3 test_sample_stacks.py, without py-spy."""

import ctypes
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import sample_stacks

# Writes the file that the option --output names.
PY_SPY = """#!/bin/sh
[ "$1" = --version ] && echo "py-spy 9.9" && exit
[ -n "$FAILS" ] && echo "Error: no permission" >&2 && exit 1
while [ "$1" != --output ]; do shift; done
cat > "$2" <<'STACKS'
STACKS_HERE
STACKS
echo "Wrote. Samples: 20 Errors: 3" >&2
"""


class Stacks(unittest.TestCase):
    def seen(self, stacks, **env):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "py-spy"
            program.write_text(PY_SPY.replace("STACKS_HERE", "\n".join(stacks)))
            program.chmod(0o755)
            with patch.dict(os.environ, env), patch.object(sample_stacks, "processes", lambda: [os.getpid()]):
                return sample_stacks.by_py_spy(str(program), 2, 10)

    def test_threads_run_or_wait(self):
        code = ctypes.create_string_buffer(b"\x90\x90" + sample_stacks.SYSTEM_CALL[os.uname().machine] + b"\x90\x90")
        end = ctypes.addressof(code) + 2 + len(sample_stacks.SYSTEM_CALL[os.uname().machine])
        seen = self.seen([
            "thread (1): main;main (/app/m.py:3);work (a b.py:7) 5",
            "thread (1): main;main (/app/m.py:4);work (a b.py:9);numpy_add (numpy.so) 6",
            "thread (1): main;main (/app/m.py:4);epoll_wait (libc.so.6) 9",
            f"thread (2): x;clone (libc.so.6);run (m.py:1);pthread_cond_timedwait (libc.so.6);0x{end:x} (libc.so.6) 4",
            f"thread (2): x;run (m.py:1);PyThread_acquire_lock_timed (python);0x{end:x} (libc.so.6) 2",
            f"thread (2): x;run (m.py:1);malloc (libc.so.6);0x{end - 1:x} (libc.so.6) 1",
            "thread (3): no functions 8",
            "thread (3): no functions;only_c (library.so) 1",
        ])
        self.assertEqual(seen, {
            "tool": "py-spy 9.9",
            "looks": 20,
            "failed": 3,
            "running": {"main (/app/m.py);work (a b.py)": 11, "run (m.py)": 1},
            "gil_waits": 4,
        })

    def test_what_py_spy_says_is_passed_on(self):
        with self.assertRaises(SystemExit) as exit:
            self.seen([], FAILS="1")
        self.assertEqual(str(exit.exception), "py-spy: Error: no permission")

    def test_paths_are_those_below_the_folder_of_the_import(self):
        for path, name in [
            ("/usr/local/lib/python3.14t/site-packages/app/main.py", "app/main.py"),
            ("/usr/local/lib/python3.14t/asyncio/runners.py", "asyncio/runners.py"),
            ("/app/main.py", "app/main.py"),
            ("<frozen runpy>", "<frozen runpy>"),
        ]:
            self.assertEqual(sample_stacks.short(path), name)


if __name__ == "__main__":
    unittest.main()
