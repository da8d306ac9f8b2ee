"""Samples what the threads of other Python processes do, and prints the stacks that it saw as JSON.

    sample_stacks.py SECONDS PER_SECOND [PY_SPY]

Runs in a container that shares the process namespace of a service, with the same image and user, and with the
capability SYS_PTRACE, without which Docker forbids reading the memory of another process. The service itself is started
as always.

Interpreters with the GIL are read by py-spy (argument PY_SPY), which stops the service for each look. Threads in a
function that waits for the GIL are counted. Threads in other functions that wait, and those in a system call, are not
running. py-spy cannot read free-threaded interpreters. These are read by CPython's own module `_remote_debugging`,
without stopping them; threads run if the kernel says so. It shows the functions up to the last call from C code.

    {"tool": "py-spy 0.4.3",    what read the stacks
     "looks": 500,              how often all threads were looked at
     "failed": 2,               threads or processes that could not be read at a look, because they changed meanwhile
     "running": {"a;b": 17},    stacks of running threads, outermost function first, with their number
     "gil_waits": 120}          number of threads that waited for the GIL at a look; null without py-spy
"""

import collections
import json
import os
import re
import subprocess
import sys
import tempfile
import time

# A thread waits for the GIL in this function of the C library. Python's own locks use semaphores.
GIL_WAIT = "pthread_cond_timedwait"
# Other functions of the C library in which threads wait.
WAITS = re.compile(
    r"_*(pthread_cond_wait|sem_\w*wait|syscall|epoll_p?wait2?|p?poll|p?select|(clock_)?nanosleep|accept4?"
    r"|recv(from|m?msg)?|read|sigtimedwait|wait4|waitpid|waitid)"
)
# The instruction of a system call.
SYSTEM_CALL = {"x86_64": b"\x0f\x05", "aarch64": b"\x01\x00\x00\xd4"}


def processes():
    """The processes of the service: all but this one."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid())


def short(path):
    """The path of a module below the folder from which it is imported."""
    return re.sub(r"^.*/(site-packages|lib/python3\.\d+t?)/", "", path).lstrip("/")


def is_running(process, thread):
    """Whether the kernel says that a thread is running or waits for a processor."""
    try:
        with open(f"/proc/{process}/task/{thread}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "R"
    except OSError:
        return False  # It has ended.


def by_interpreter(seconds, per_second):
    from _remote_debugging import RemoteUnwinder

    unwinders, reasons = {}, []
    for process in processes():
        try:
            unwinders[process] = RemoteUnwinder(process, all_threads=True)
        except (OSError, RuntimeError) as error:
            reasons.append(f"process {process}: {error}")
    if not unwinders:
        sys.exit("no Python process can be read: " + ("; ".join(reasons) or "there is none"))
    running, looks, failed = collections.Counter(), 0, 0
    start = time.monotonic()
    while time.monotonic() < start + seconds:
        looks += 1
        for process, unwinder in unwinders.items():
            try:
                threads = unwinder.get_stack_trace()
            except (OSError, RuntimeError, ValueError):
                failed += 1
                continue
            for thread, frames in threads:
                if frames and is_running(process, thread):
                    names = (f"{frame.funcname} ({short(frame.filename)})" for frame in reversed(frames))
                    running[";".join(name.replace(";", ",") for name in names)] += 1
        time.sleep(max(0, start + looks / per_second - time.monotonic()))
    return {
        "tool": f"_remote_debugging of CPython {sys.version.split()[0]}",
        "looks": looks,
        "failed": failed,
        "running": running,
        "gil_waits": None,
    }


def is_python(frame):
    """Whether a frame of py-spy, `name (file:line)`, is of a Python function."""
    return re.search(r"\(([^()]*\.py|<[^()]*>)(:\d+)?\)$", frame) is not None


def python_functions(frames):
    """The Python functions of a stack, without lines."""
    return ";".join(re.sub(r":\d+\)$", ")", frame) for frame in frames if is_python(frame))


def in_system_call(process, frame):
    """Whether a function without a name, `0x7f… (libc.so.6)`, is in a system call."""
    address = re.match(r"0x([0-9a-f]+) ", frame)
    if not address:
        return False
    instruction = SYSTEM_CALL[os.uname().machine]
    with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
        return os.pread(memory.fileno(), len(instruction), int(address[1], 16) - len(instruction)) == instruction


def by_py_spy(program, seconds, per_second):
    process = processes()[0]
    with tempfile.NamedTemporaryFile("r") as file:
        command = [program, "record", "--pid", str(process), "--threads", "--native", "--idle"]
        command += ["--rate", str(per_second), "--duration", str(seconds), "--format", "raw", "--output", file.name]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit("py-spy: " + (done.stderr.strip().splitlines() or ["no message"])[-1])
        lines = [line.rpartition(" ") for line in file]
    running, looks, gil_waits = collections.Counter(), collections.Counter(), 0
    for stack, _, number in lines:
        thread, *frames = stack.split(";")
        looks[thread] += int(number)
        # For a function that a library does not export, py-spy shows an address in place of a name.
        named = [frame.partition(" ")[0] for frame in frames if not frame.startswith("0x")]
        if named and named[-1] == GIL_WAIT:
            gil_waits += int(number)
        elif named and not WAITS.fullmatch(named[-1]) and not in_system_call(process, frames[-1]):
            running[python_functions(frames)] += int(number)
    del running[""]
    errors = re.search(r"Errors: (\d+)", done.stdout + done.stderr)
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split()
    return {
        "tool": f"py-spy {version[-1] if version else 'of an unknown version'}",
        # A thread that lived all the time, such as the main thread, was seen at each look.
        "looks": max(looks.values(), default=0),
        "failed": int(errors[1]) if errors else 0,
        "running": running,
        "gil_waits": gil_waits,
    }


def main():
    seconds, per_second, *py_spy = sys.argv[1:]
    if py_spy:
        seen = by_py_spy(py_spy[0], int(seconds), int(per_second))
    else:
        seen = by_interpreter(int(seconds), int(per_second))
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
