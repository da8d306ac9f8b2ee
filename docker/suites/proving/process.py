"""Runs a fresh process: how it ended, what it reported, and what it wrote to standard error.

Often several threads of a process crash at the same time. faulthandler writes its report in the thread that crashed
first, and the crash of a second thread ends the process before the report is complete. Therefore the process is traced
with ptrace(2): the thread that crashes first continues, and threads that crash after it stay stopped meanwhile.
"""

import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time

# Bytes of a process's standard error that are kept: the end, where a crash is reported.
KEPT = 24_000
# Seconds that a process has for its report after it crashed, or after it was aborted at its time limit.
GRACE = 10

INF = float("inf")

# Requests and options of ptrace(2), from <sys/ptrace.h>, and __WALL of waitpid(2): threads are waited for, too.
TRACEME, CONT, SETOPTIONS = 0, 7, 0x4200
TRACECLONE, TRACEEXEC, EXITKILL = 0x8, 0x10, 0x100000
WALL = 0x40000000
# The signals that faulthandler reports.
CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long


def ptrace(request: int, thread: int, data: int = 0) -> None:
    if LIBC.ptrace(request, thread, None, data) == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def run(
    command: list[str], limit: float, environment: dict[str, str] | None = None, cwd: str = "/tmp", stall: float = INF
) -> dict:
    """Runs a process to its end, or to its time limit, which it also reaches if it reports nothing for `stall` seconds.
    `%REPORT%` in the command is the descriptor for reports."""
    read, write = os.pipe()
    command = [word.replace("%REPORT%", str(write)) for word in command]
    begun = time.monotonic()
    with tempfile.TemporaryFile() as said:
        child = Child(
            command, pass_fds=[write], cwd=cwd, env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
        os.close(write)
        report = Pipe(read)
        hung = not child.wait(limit, report, stall)
        stalled = time.monotonic() - begun < limit
        if hung:
            computed = processor_time(child.pid)
            # faulthandler writes the stacks when it gets this signal.
            os.kill(child.pid, signal.SIGABRT)
            if not child.wait(GRACE, report):
                os.killpg(child.pid, signal.SIGKILL)
                child.wait(INF, report)
        seconds = time.monotonic() - begun
        # The processes that it has started must not run longer than it did.
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        report.take()
        os.close(read)
        size = said.seek(0, os.SEEK_END)
        said.seek(max(0, size - KEPT))
        stderr = said.read().decode(errors="replace")
    result = {"seconds": round(seconds, 3), "signal": None, "exit": child.exit, "stderr": stderr}
    result["lines"] = report.lines()
    if hung:
        # The reader must be able to tell a process that waits from a machine that is too slow.
        load = f"{computed:.1f} s of them computing, the load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
        how = f"it reported nothing for {stall:g} s" if stalled else f"it had not ended after {limit:g} s"
        return result | {"outcome": "hung", "message": f"{how} ({load})"}
    if child.exit < 0:
        result["signal"] = signal.Signals(-child.exit).name
        if not child.traced:
            result["stderr"] += "ptrace is not permitted here: the stacks can be incomplete if several threads crashed\n"
        # Nothing here sends this signal to a process that is in time.
        why = ", as the system does when memory is exhausted" if result["signal"] == "SIGKILL" else ""
        return result | {"outcome": "crashed", "message": f"ended by {result['signal']}{why}"}
    if child.exit > 0:
        return result | {"outcome": "failed", "message": f"ended with exit code {child.exit}"}
    return result | {"outcome": "passed", "message": ""}


def start(
    module: str, task: dict, limit: float, environment: dict[str, str] | None = None, cwd: str = "/tmp", stall: float = INF
) -> dict:
    """Runs a module of this package in a fresh process, which reads its task from a file: a command line has too little
    room for long lists."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(task, file)
        file.flush()
        command = [sys.executable, "-P", "-m", f"proving.{module}", file.name, "%REPORT%"]
        return run(command, limit, environment, cwd, stall)


class Pipe:
    """What a child reports, read while it runs: a full pipe would stop it."""

    def __init__(self, read: int) -> None:
        self.read = read
        self.open = True
        self.data = b""
        os.set_blocking(read, False)

    def take(self) -> None:
        try:
            while part := os.read(self.read, 65536):
                self.data += part
            self.open = False
        except BlockingIOError:
            pass

    def lines(self) -> list[dict]:
        found = []
        for line in self.data.decode(errors="replace").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                # The process crashed while it wrote this line.
                pass
        return found


class Child:
    """A child process, traced where that is permitted. It needs the main thread, and no other child at that time."""

    def __init__(self, command: list[str], **options: object) -> None:
        self.exit: int | None = None
        self.threads: set[int] = set()
        # The thread that crashed first, and those that crashed after it, each with its signal.
        self.first: int | None = None
        self.held: list[tuple[int, int]] = []
        self.release_at = INF
        self.wake, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # Each event of a traced thread is a SIGCHLD, and each of these makes `wake` readable.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.wake_before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self.wake_write = write
        try:
            self.process = subprocess.Popen(command, preexec_fn=prepare_traced, **options)
            self.traced = True
        except subprocess.SubprocessError:
            self.process = subprocess.Popen(command, preexec_fn=prepare, **options)
            self.traced = False
        self.pid = self.process.pid

    def wait(self, seconds: float, report: Pipe, stall: float = INF) -> bool:
        """Whether the process ends within this time, and never reports nothing for `stall` seconds until then."""
        end = time.monotonic() + seconds
        deadline, size = min(end, time.monotonic() + stall), len(report.data)
        while True:
            self.handle_events()
            report.take()
            if self.exit is not None:
                return True
            now = time.monotonic()
            if len(report.data) > size:
                deadline, size = min(end, now + stall), len(report.data)
            if now >= deadline:
                return False
            if now >= self.release_at:
                self.release()
            left = min(deadline, self.release_at) - now
            # ThreadSanitizer delays a signal until a function that it knows is called: poll(2) is one, select(2) is none. The
            # wait would begin without the signal that ends it.
            ready = select.poll()
            for descriptor in [self.wake, report.read] if report.open else [self.wake]:
                ready.register(descriptor, select.POLLIN)
            ready.poll(None if left == INF else max(left, 0) * 1000)
            try:
                os.read(self.wake, 65536)
            except BlockingIOError:
                pass

    def handle_events(self) -> None:
        while self.exit is None:
            thread, status = os.waitpid(-1, os.WNOHANG | WALL)
            if thread == 0:
                return
            if os.WIFSTOPPED(status):
                self.stopped(thread, os.WSTOPSIG(status), status >> 16)
            elif thread == self.pid:
                # Its other threads have been waited for before.
                self.exit = self.process.returncode = os.waitstatus_to_exitcode(status)
                signal.set_wakeup_fd(self.wake_before)
                os.close(self.wake)
                os.close(self.wake_write)

    def stopped(self, thread: int, number: int, event: int) -> None:
        """Decides how a traced thread goes on that stopped because of a signal, or of what an option asked for."""
        new = thread not in self.threads
        self.threads.add(thread)
        if new and thread == self.pid:
            # It begins with a SIGTRAP, when its program is loaded.
            self.request(SETOPTIONS, thread, TRACECLONE | TRACEEXEC | EXITKILL)
            self.request(CONT, thread)
        elif new or event:
            # Another thread begins with a SIGSTOP.
            self.request(CONT, thread)
        elif number in CRASHES and self.first not in (None, thread):
            self.held.append((thread, number))
        else:
            if number in CRASHES and self.first is None:
                self.first = thread
                self.release_at = time.monotonic() + GRACE
            self.request(CONT, thread, number)

    def release(self) -> None:
        """The first thread had time enough, or its signal was none that ended the process."""
        held, self.held, self.first, self.release_at = self.held, [], None, INF
        for thread, number in held:
            self.request(CONT, thread, number)

    def request(self, request: int, thread: int, data: int = 0) -> None:
        try:
            ptrace(request, thread, data)
        except ProcessLookupError:
            # It was killed meanwhile.
            pass


def prepare() -> None:
    """In the child, before its program is loaded: without a core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def prepare_traced() -> None:
    prepare()
    ptrace(TRACEME, 0)


def processor_time(pid: int) -> float:
    """Seconds that a process has computed (proc(5), stat: utime and stime)."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
