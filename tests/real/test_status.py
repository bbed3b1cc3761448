"""`tidemill status` from another process: what the host says of itself, and what is said where there is none."""

import json
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from process import until

COUNT = 3_000


@pytest.fixture
def runtime():
    """Stands for `/run/user/UID`. A socket's path must be short: a test's own folder is too deep."""
    with tempfile.TemporaryDirectory(prefix="run-") as folder:
        yield Path(folder)


@pytest.fixture
def status(tidemill, name, runtime):
    """Asks the hosts of this test's pipeline; gives (exit code, status or None, stderr)."""
    def ask(*arguments):
        asked = tidemill("status", "--pipeline", name, "--json", *arguments, XDG_RUNTIME_DIR=runtime)
        code = asked.wait(20)
        lines = asked.stdout.splitlines()
        assert len(lines) <= 1
        return code, json.loads(lines[0]) if lines else None, asked.stderr
    return ask


@pytest.fixture
def run(tidemill, kafka, disk, name, runtime):
    return lambda transforms: tidemill(
        "run", "--brokers", kafka.brokers, "--topic", name, "--group", name, *disk.arguments(), "--catalog", "local",
        "--transforms", transforms, "--commit-interval", "1s", XDG_RUNTIME_DIR=runtime)


def test_a_host_says_how_it_is(tidemill, kafka, disk, name, transforms, tmp_path, runtime, run, status):
    code, found, said = status()
    assert (code, found) == (1, None)
    assert f"no host of pipeline {name}" in said and "tidemill run" in said

    folder = tmp_path / "transforms"
    folder.mkdir()
    for wasm in transforms.glob("*.wasm"):
        shutil.copy(wasm, folder)
    kafka.create(name)
    assert tidemill.produce(name, COUNT).wait(60) == 0
    host = run(folder)

    def all_committed():
        code, found, _ = status()
        return code == 0 and found["events"] == COUNT and found
    found = until(all_committed, 60, "all is committed", every=0.5, alive=[host])
    assert found["host"]["pid"] == host.pid and found["host"]["pipeline"] == name
    ends = kafka.ends(name)
    assert {int(p): (one["committed"], one["end"], one["lag"]) for p, one in found["partitions"].items()} \
        == {p: (end, end, 0) for p, end in ends.items()} and len(ends) == 3
    sessions, overview, clean, minutes = sorted(found["transforms"], key=lambda one: one["name"], reverse=True)
    assert [(one["name"], one["state"]) for one in (sessions, overview)] == [("sessions", "live"), ("overview", "live")]
    assert (clean["name"], clean["state"], minutes["state"]) == ("clean", "live", "live")
    good = disk.count("user_events")
    assert clean["rows"]["emitted"] == minutes["rows"]["input"] == minutes["rows"]["absorbed"] == good
    assert overview["rows"]["input"] == overview["rows"]["absorbed"] == good
    assert clean["rows"]["input"] == clean["rows"]["emitted"] + clean["rows"]["rejected"]
    assert clean["ns_per_row"] > 0 and found["attention"] == []
    print(f"{clean['ns_per_row']} ns a row in clean, {minutes['ns_per_row']} in {minutes['name']}")

    (folder / "broken.wasm").write_bytes(b"this is no WebAssembly\n")

    def refused():
        return status()[1]["attention"]
    line, = until(refused, 30, "the broken file is refused", every=0.2, alive=[host])
    assert line.startswith("broken.wasm was not taken in") and "expected" in line
    assert status()[0] == 0
    code, found, said = status("--check")
    assert code == 1 and found["attention"] == [line] and "needs a person: 1" in said
    text = tidemill("status", "--pipeline", name, XDG_RUNTIME_DIR=runtime)
    assert text.wait(20) == 0
    print(text.stdout)
    assert f"! {line}" in text.stdout.splitlines() and "\x1b" not in text.stdout

    assert host.stop(10) == 0
    assert status()[:2] == (1, None)
    assert list((runtime / "tidemill").iterdir()) == []


def test_brokers_that_are_silent_and_hosts_that_hang_hold_up_nobody(kafka, name, transforms, runtime, run, status):
    kafka.create(name)
    host = run(transforms)
    until(lambda: len((status()[1] or {}).get("partitions", [])) == 3, 60, "it has partitions", alive=[host])
    kafka.process.signal(signal.SIGSTOP)
    try:
        # What the brokers said a moment ago is taken to be so for a second.
        until(lambda: None in [one["lag"] for one in status()[1]["partitions"].values()], 10, "they are silent")
        began = time.monotonic()
        code, found, _ = status()
        took = time.monotonic() - began
    finally:
        kafka.process.signal(signal.SIGCONT)
    print(f"with silent brokers: {took:.2f} s")
    assert code == 0 and took < 5
    assert [one["lag"] for one in found["partitions"].values()] == [None] * 3

    host.signal(signal.SIGSTOP)
    try:
        code, found, said = status()
    finally:
        host.signal(signal.SIGCONT)
    assert (code, found) == (1, None) and f"process {host.pid}" in said and "no answer within" in said
    until(lambda: status()[0] == 0, 20, "it answers again", alive=[host])

    host.kill()
    assert list((runtime / "tidemill").iterdir()), "nobody was there to remove it"
    assert status()[:2] == (1, None)
    assert list((runtime / "tidemill").iterdir()) == []
