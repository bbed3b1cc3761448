"""What the benchmarks share: the processor time and memory of a process, thread by thread, and where figures go."""

import ctypes
import json
import os
import platform
import resource
import signal
import threading
import time
from collections import defaultdict
from pathlib import Path

from process import Process

TICK = os.sysconf("SC_CLK_TCK")


def record(bench, **figures):
    """Prints figures, and appends them as a line of JSON to the file that TIDEMILL_BENCH_JSON names."""
    print(f"\n{bench}: " + ", ".join(f"{name.replace('_', ' ')} {shown(value)}" for name, value in figures.items()))
    if path := os.environ.get("TIDEMILL_BENCH_JSON"):
        line = {"bench": bench, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "cores": os.cpu_count(),
                "processor": processor(), "load_before": round(os.getloadavg()[0], 2), **figures}
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")


def shown(value):
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def processor():
    names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    return names[0] if names else platform.machine()


class Threads(threading.Thread):
    """The processor time of a process's threads by name, in seconds, as of the last look before each ended."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.folder, self._seen, self._ends = Path(f"/proc/{pid}/task"), {}, threading.Event()
        self.start()

    def run(self):
        while not self._ends.wait(0.1):
            self._look()

    def _look(self):
        try:
            for task in self.folder.iterdir():
                text = (task / "stat").read_text()
                name, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
                self._seen[task.name] = name, (int(rest[11]) + int(rest[12])) / TICK
        except OSError:
            pass  # it has ended

    def stop(self):
        self._ends.set()
        self.join()
        sums = defaultdict(float)
        for name, seconds in self._seen.values():
            sums[name] += seconds
        return {name: round(seconds, 2) for name, seconds in sorted(sums.items(), key=lambda x: -x[1]) if seconds > 0.05}


class Tree(Process):
    """A process whose time and memory count with those of all its descendants, such as a JVM that its driver left."""

    def __init__(self, *arguments):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans come to us
        super().__init__(*arguments)
        self.peak = 0

    def wait_for_all(self, seconds):
        """The processor time of all of them, when all have ended; `peak` is then the most memory that they took, MiB."""
        deadline, before, known = time.monotonic() + seconds, children(), set()
        while self.alive() or any(reap(pid) for pid in known):
            found = self._tree()
            known |= found - {self.pid}
            self.peak = max(self.peak, memory(found))
            if time.monotonic() > deadline:
                for pid in known:
                    os.kill(pid, signal.SIGKILL)
                self.kill()
                raise TimeoutError(f"{self.name} did not end within {seconds} s")
            time.sleep(0.1)
        return children() - before

    def _tree(self):
        below = defaultdict(list)
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
                    below[int(parent)].append(int(entry.name))
                except OSError:
                    pass
        found, todo = set(), [self.pid]
        while todo:
            found.add(pid := todo.pop())
            todo += below[pid]
        return found


def reap(pid):
    """Whether it still runs; if it was left to us and has ended, its time is ours from now on."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
    return Path(f"/proc/{pid}").exists()


def children():
    """The processor time of all processes that this one has waited for, and of those that they have."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def memory(pids):
    """MiB of all of them."""
    pages = 0
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            pass
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def cpu(process):
    """User and system, in seconds."""
    return process.rusage.ru_utime + process.rusage.ru_stime
