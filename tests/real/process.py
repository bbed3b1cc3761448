"""Processes that the suite starts: bounded in time, stopped by their own pid, their output kept."""

import ctypes
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def until(condition, seconds, what, every=0.05, alive=()):
    """Waits until `condition()` is true and returns its value; fails after `seconds`, or when one of `alive` ended."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        for process in alive:
            assert process.alive(), f"{process.name} ended with {process.code} before: {what}"
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(every)


def free_port():
    """A free port below the range that the kernel gives to clients, so that none can take it meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def listens(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A child in `folder`; both its outputs go to files there, so that no pipe can fill and block it."""

    all = []  # for the report of a failed test

    def __init__(self, name, argv, env, folder):
        self.name, self.folder = name, Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.argv = [str(a) for a in argv]
        self.stdout_path, self.stderr_path = self.folder / "stdout", self.folder / "stderr"
        self.code = self.rusage = self.shown = None
        self.started = time.monotonic()
        with open(self.stdout_path, "wb") as out, open(self.stderr_path, "wb") as err:
            self._popen = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=self.folder,
                env={k: str(v) for k, v in env.items()}, preexec_fn=_die_with_parent)
        self.pid = self._popen.pid
        Process.all.append(self)

    @property
    def stdout(self):
        return self.stdout_path.read_text(errors="replace")

    @property
    def stderr(self):
        return self.stderr_path.read_text(errors="replace")

    def alive(self):
        if self.code is None:
            pid, status, rusage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.code = self._popen.returncode = os.waitstatus_to_exitcode(status)
                self.rusage, self.seconds = rusage, time.monotonic() - self.started
        return self.code is None

    def wait(self, seconds):
        """The exit code. A process that takes longer is killed and fails the test."""
        try:
            until(lambda: not self.alive(), seconds, f"{self.name} ends", every=0.02)
        except TimeoutError:
            self.kill()
            raise
        return self.code

    def signal(self, number):
        if self.alive():
            os.kill(self.pid, number)

    def stop(self, seconds=10):
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self):
        self.signal(signal.SIGKILL)
        until(lambda: not self.alive(), 10, f"{self.name} is gone", every=0.02)

    def says(self, pattern, seconds):
        """Waits until stderr matches the compiled `pattern`; ends early when the process does."""
        def seen():
            dead = not self.alive()
            found = pattern.search(self.stderr)
            if dead and not found:
                raise AssertionError(f"{self.name} ended with {self.code} without saying {pattern.pattern}")
            return found
        return until(seen, seconds, f"{self.name} says {pattern.pattern}")


def start_server(name, argv, env, folder, port, seconds=60):
    """Starts a server and waits until it listens."""
    server = Process(name, argv, env, folder)
    def ready():
        if not server.alive():
            raise AssertionError(f"{name} ended with {server.code}:\n{server.stderr[-2000:]}")
        return listens(port)
    until(ready, seconds, f"{name} listens on {port}")
    print(f"{name}: 127.0.0.1:{port}, pid {server.pid}, ready in {time.monotonic() - server.started:.1f} s")
    return server
