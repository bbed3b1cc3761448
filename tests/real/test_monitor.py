"""`tidemill monitor` from another process: one view with its alarms and exit codes, and a live one in a terminal."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from host import BINARY
from pipeline import Pipeline
from process import until
from terminal import Terminal

COUNT = 3_000
GUESTS = Path(__file__).resolve().parent.parent / "guests"
POISON = b'{"user_id":"u1","event_type":"click","timestamp":"2025-12-02T10:00:00Z","page":"/poison"}'


@pytest.fixture
def runtime():
    """Stands for `/run/user/UID`. A socket's path must be short: a test's own folder is too deep."""
    with tempfile.TemporaryDirectory(prefix="run-") as folder:
        yield Path(folder)


@pytest.fixture
def settings(kafka, disk, name):
    """The settings of this test's pipeline as flags; some of them may be others."""
    def flags(**others):
        ours = {"brokers": kafka.brokers, "topic": name, "group": name, "raw": disk.raw.url,
                "processed": disk.processed.url, "catalog": "local"}
        return [part for key, value in (ours | others).items() for part in (f"--{key}", value)]
    return flags


@pytest.fixture
def run(tidemill, settings, transforms, runtime):
    """Starts a host that commits each second, or as told."""
    return lambda interval="1s", folder=transforms: tidemill(
        "run", *settings(), "--transforms", folder, "--commit-interval", interval, XDG_RUNTIME_DIR=runtime)


@pytest.fixture
def once(tidemill, settings, runtime):
    """One look; gives (exit code, what it says, stderr, seconds)."""
    def look(*arguments, env={}, **others):
        process = tidemill("monitor", "--once", "--json", *settings(**others), *arguments,
                           **{"XDG_RUNTIME_DIR": runtime, **env})
        code = process.wait(60)
        assert code in (0, 1), process.stderr
        said = json.loads(process.stdout)
        assert said["ok"] == (code == 0) == (not said["alarms"]), said["alarms"]
        return code, said, process.stderr, process.seconds
    return look


def kinds(said):
    return [alarm["kind"] for alarm in said["alarms"]]


def status(tidemill, name, runtime):
    asked = tidemill("status", "--pipeline", name, "--json", XDG_RUNTIME_DIR=runtime)
    return json.loads(asked.stdout) if asked.wait(20) == 0 else None


def committed(tidemill, name, runtime, host, events):
    def all_committed():
        found = status(tidemill, name, runtime)
        return found and found["events"] == events and len(found["partitions"]) == 3 and found
    return until(all_committed, 60, "all is committed", every=0.5, alive=[host])


def test_one_look_says_what_status_says_and_what_is_wrong(tidemill, kafka, name, transforms, runtime, run, once, tmp_path):
    folder = tmp_path / "transforms"
    folder.mkdir()
    for wasm in transforms.glob("*.wasm"):
        shutil.copy(wasm, folder)
    kafka.create(name)
    assert tidemill.produce(name, COUNT).wait(60) == 0
    host = run(folder=folder)
    found = committed(tidemill, name, runtime, host, COUNT)

    def between_two():
        """What is said between two equal answers of `tidemill status`; only their moments differ."""
        before, look, after = status(tidemill, name, runtime), once(), status(tidemill, name, runtime)
        return {**before, "at": None} == {**after, "at": None} and (before, look)
    found, (code, said, error, seconds) = until(between_two, 60, "nothing happens for a moment", alive=[host])
    assert (code, said["alarms"], said["lake"], error) == (0, [], None, "")
    print(f"one look took {seconds:.2f} s")
    shown, = said["hosts"]
    assert shown["process"] == host.pid and shown["error"] is None
    assert {**shown["status"], "at": None} == {**found, "at": None}
    assert shown["lag"] == 0 and shown["waits_ms"] is None
    assert 0 < shown["events_per_second"] <= COUNT and 0 < shown["freshness_ms"] < 60_000
    text = tidemill("monitor", "--once", "--pipeline", name, XDG_RUNTIME_DIR=runtime)
    assert text.wait(20) == 0
    print(text.stdout)
    assert f"pipeline {name}, topic {name}" in text.stdout and "\x1b" not in text.stdout
    assert re.search(r"^clean +0\.1\.0 +\w{12} +live ", text.stdout, re.M)
    reasons = dict(reversed(line.split(None, 1)) for line in re.findall(r"^ *\d+  \D.*$", text.stdout, re.M))
    assert {reason: str(count) for reason, count in found["rejects"].items()}.items() <= reasons.items()
    assert len(found["rejects"]) > 2

    (folder / "broken.wasm").write_bytes(b"this is no WebAssembly\n")
    code, said, error, _ = until(lambda: (look := once())[0] and look, 30, "the broken file is refused", alive=[host])
    alarm, = said["alarms"]
    assert alarm["kind"] == "attention" and alarm["what"].startswith("broken.wasm was not taken in")
    assert alarm["process"] == host.pid and "an alarm is on: broken.wasm" in error
    assert [alarm["what"]] == said["hosts"][0]["status"]["attention"]
    (folder / "broken.wasm").unlink()
    until(lambda: once()[0] == 0, 30, "all is well again", alive=[host])

    assert (once("--max-silence", "1ms")[0], kinds(once("--max-silence", "1ms")[1])) == (1, ["silence"])
    host.signal(signal.SIGSTOP)
    try:
        code, said, error, _ = once()
    finally:
        host.signal(signal.SIGCONT)
    assert (code, kinds(said)) == (1, ["unanswered"]) and f"process {host.pid} does not answer" in error
    assert said["hosts"][0]["error"] and said["hosts"][0]["status"] is None
    until(lambda: once()[0] == 0, 20, "it answers again", alive=[host])


def test_events_that_wait_too_long_are_an_alarm_and_those_that_are_committed_in_time_are_none(
        tidemill, kafka, name, runtime, run, once):
    kafka.create(name)
    host = run(interval="4s")
    committed(tidemill, name, runtime, host, 0)
    time.sleep(3)
    assert once("--max-freshness", "2s")[0] == 0, "nothing waits, and nothing was ever committed"
    assert tidemill.produce(name, 100).wait(60) == 0
    # The doubt is settled by looking on: it is committed within 10 s, and not within 1 s.
    code, said, _, seconds = once("--max-freshness", "10s")
    assert code == 0 and said["hosts"][0]["lag"] == 0, said["alarms"]
    print(f"settled after {seconds:.1f} s")
    code = 0
    while not code:
        assert tidemill.produce(name, 100).wait(60) == 0
        code, said, error, seconds = once("--max-freshness", "1s")
        print(f"bound 1 s: {code} after {seconds:.1f} s, {kinds(said)}")
    alarm, = said["alarms"]
    assert alarm["kind"] == "freshness" and alarm["partition"] in (0, 1, 2) and "(bound 1.0 s)" in alarm["what"]
    assert said["hosts"][0]["waits_ms"] > 1_000 and seconds < 6
    until(lambda: once()[0] == 0, 20, "all is committed", alive=[host])


@pytest.mark.timeout(400)  # it compiles a guest, and the host goes back to its last commit a few times
def test_a_partition_that_stands_still_is_an_alarm(tidemill, kafka, name, transforms, runtime, run, once, tmp_path):
    out, folder = tmp_path / "guests", tmp_path / "transforms"
    env = {k: v for k, v in os.environ.items() if not k.startswith("TIDEMILL_")}
    subprocess.run([BINARY, "build", GUESTS, "--out", out], check=True, env=env)
    folder.mkdir()
    shutil.copy(out / "evil.wasm", folder)
    (folder / "evil.toml").write_text('[config]\ndo = "trap_on_value"\non = "/poison"\n[limits]\npoison-rows = 0\n')
    kafka.create(name, partitions=1)
    host = run(folder=folder)
    until(lambda: once()[1]["hosts"], 60, "it answers", alive=[host])
    producer = kafka.producer()
    producer.produce(name, POISON)
    assert producer.flush(30) == 0

    def stands_still():
        look = once("--max-freshness", "1h")
        return "attention" in kinds(look[1]) and look
    code, said, error, _ = until(stands_still, 120, "it stands still", alive=[host])
    assert code == 1 and "partition 0 stands still: transform evil" in error, said["alarms"]
    assert said["hosts"][0]["status"]["partitions"]["0"]["paused"] and said["hosts"][0]["lag"] == 1


def test_the_lake_alone_is_told_from_its_log_and_the_brokers(tidemill, kafka, s3, disk, name, settings, run, once, runtime):
    kafka.create(name)
    code, said, _, _ = once("--lake")
    assert (code, said["hosts"], said["lake"]["records"], said["lake"]["lag"]) == (0, [], 0, 0)
    assert tidemill.produce(name, COUNT).wait(60) == 0
    host = run()
    committed(tidemill, name, runtime, host, COUNT)
    code, beside, _, _ = once("--lake")
    assert code == 0 and beside["hosts"] == [] and beside["lake"]["lag"] == 0
    assert host.stop(10) == 0

    pipeline = Pipeline(tidemill, name, name, disk, "--catalog", "local")
    log, ends = pipeline.log(), kafka.ends(name)
    code, said, error, _ = once()
    assert (code, said["alarms"], said["hosts"], error) == (0, [], [], "")
    lake = said["lake"]
    assert (lake["pipeline"], lake["topic"], lake["records"]) == (name, name, len(log))
    last = {a["partition"]: (a["to"], r["seq"], r["time"]) for r in log for a in r.get("partitions", [])}
    assert {int(p): (one["committed"], one["last_record"], one["last_commit"]) for p, one in lake["partitions"].items()} == last
    assert {int(p): (one["end"], one["lag"]) for p, one in lake["partitions"].items()} == {p: (e, 0) for p, e in ends.items()}
    sets = [r for r in log if r.get("transforms")]
    components = [{k: one[k] for k in ("file", "name", "version", "digest")} for one in sets[-1]["transforms"]["components"]]
    assert (lake["set"], lake["transforms"]) == (sets[-1]["seq"], components) and len(components) >= 3
    tail = [(r["seq"], r["kind"], sum(a["events"] for a in r.get("partitions", []))) for r in log][-60:]
    assert [(r["record"], r["kind"], r["events"]) for r in lake["recent"]] == tail

    # More comes, and nobody takes it.
    assert tidemill.produce(name, 500).wait(60) == 0
    assert once("--lake", "--max-lag", 500, "--max-freshness", "1h")[0] == 0
    code, said, error, _ = once("--lake", "--max-lag", 499, "--max-freshness", "1h")
    assert (code, kinds(said), said["lake"]["lag"]) == (1, ["lag"], 500) and "500 events wait (bound 499)" in error
    # What waits may be no older than the last commit: as long as that is within the bound, nothing is late.
    until(lambda: once("--lake", "--max-freshness", "3s")[0] == 1, 30, "the events are late", every=0.3)
    code, said, _, seconds = once("--lake", "--max-freshness", "3s")
    assert (code, kinds(said)) == (1, ["freshness"]) and seconds < 15, said["alarms"]
    text = tidemill("monitor", "--once", "--max-freshness", "3s", *settings(), XDG_RUNTIME_DIR=runtime)
    assert text.wait(60) == 1 and "no host runs here" in text.stdout and "! events of partition" in text.stdout
    print(text.stdout)

    # Without brokers the log still tells; what they alone know is an alarm only if it was asked for.
    code, said, _, _ = once("--lake", brokers="127.0.0.1:1")
    assert code == 0 and said["lake"]["lag"] is None and "cannot reach kafka" in said["lake"]["brokers_error"]
    assert said["lake"]["partitions"]["0"]["committed"] == last[0][0]
    assert kinds(once("--lake", "--max-lag", 1_000_000, brokers="127.0.0.1:1")[1]) == ["unknown"]
    assert pipeline.log() == log, "it changes nothing"

    missing = {"processed": f"s3://{name}-there-is-none", "catalog": "none"}
    code, said, error, _ = once("--lake", **missing)
    assert (code, kinds(said)) == (1, ["unreadable"]) and "bucket" in error and said["lake"]["error"]
    code, said, error, _ = once("--lake", **missing, env={"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"})
    assert (code, kinds(said)) == (1, ["unreadable"]) and "127.0.0.1:1" in error, error


def test_a_lake_on_s3_is_told_without_a_host(tidemill, kafka, buckets, name, once):
    lake = buckets(name)
    pipeline = Pipeline(tidemill, name, name, lake, "--catalog", "none")
    assert tidemill.produce(name, COUNT).wait(60) == 0
    pipeline.until_end()
    code, said, _, seconds = once("--lake", raw=lake.raw.url, processed=lake.processed.url, catalog="none")
    print(f"one look at S3 took {seconds:.2f} s")
    assert code == 0 and said["lake"]["lag"] == 0 and said["lake"]["records"] == len(pipeline.log())
    assert sum(record["events"] for record in said["lake"]["recent"]) == COUNT


def test_without_a_terminal_only_one_look_is_possible(tidemill):
    for arguments, wanted in ((), "--once"), (("--lake",), "--once"), (("--json",), "--once"), (("--once", "--max-lag", "x"), "x"):
        process = tidemill("monitor", *arguments)
        assert process.wait(10) == 2 and wanted in process.stderr, (arguments, process.stderr)
        assert process.stdout == ""
    assert tidemill("monitor", "--help").wait(10) == 0


@pytest.fixture
def live(tidemill, settings, runtime):
    """A live view in a terminal of its own."""
    started = []

    def start(*arguments, columns=80, lines=24, **env):
        env = {**tidemill.env, "XDG_RUNTIME_DIR": runtime, **env}
        started.append(Terminal([BINARY, "monitor", *settings(), *arguments], env, columns, lines))
        return started[-1]
    yield start
    for terminal in started:
        terminal.close()


def events(lines):
    found = re.search(r"since the start \d+ commits, (\d+) events", "\n".join(lines))
    return found and int(found[1])


def test_a_live_view_shows_the_numbers_rise_and_gives_the_terminal_back(tidemill, kafka, name, runtime, run, live):
    kafka.create(name)
    host = run()
    terminal = live()
    terminal.has(f"pipeline {name}, topic {name}", 60)
    making = tidemill.produce(name, 0, rate=500)
    first = terminal.shows(events, 60)
    more = terminal.shows(lambda lines: (n := events(lines)) and n > first + 500 and n)
    print("\n".join(terminal.lines()))
    rate = terminal.shows(lambda lines: (found := re.search(r"events/s (\d+)", "\n".join(lines))) and int(found[1]) > 100 and found)
    print(f"{first} events, then {more}; {rate[0]}")
    assert terminal.has("clean") and terminal.has("partitions") and terminal.has("freshness")
    assert "█" in "".join(terminal.lines()) or "▇" in "".join(terminal.lines()), "no graph"
    assert terminal.colours()

    terminal.press("p")
    terminal.has("PAUSED")
    held = events(terminal.lines())
    time.sleep(2.5)
    assert events(terminal.lines()) == held
    terminal.press("p")
    terminal.shows(lambda lines: (n := events(lines)) and n > held)
    terminal.press("?")
    terminal.has("hold the picture")
    terminal.press("?")
    terminal.resize(160, 50)
    assert "transforms, of record" in terminal.has("partitions  ")
    terminal.resize(30, 6)
    terminal.shows(lambda lines: len(lines) == 6 and "tidemill" not in lines[5] and lines[5].startswith("q quit"))
    terminal.resize(80, 24)
    terminal.shows(events)

    # It goes, and another comes.
    host.kill()
    terminal.has("the host is gone", 20)
    terminal.has("no host runs here", 20)
    terminal.press("\t")
    terminal.has(f"lake of pipeline {name}")
    terminal.has("records in the log")
    terminal.press("\t")
    host = run()
    terminal.has(f"process {host.pid}", 60)
    terminal.shows(lambda lines: not any("the host is gone" in line for line in lines))
    making.stop()

    terminal.press("q")
    assert terminal.wait() == 0
    assert terminal.restored()


@pytest.mark.parametrize("end", ["\x03", "\x1b", signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=repr)
def test_whatever_ends_it_the_terminal_is_given_back_and_without_colours_there_are_none(kafka, name, end, live):
    kafka.create(name)
    terminal = live("--lake", NO_COLOR="1")
    terminal.has(f"lake of pipeline {name}")
    terminal.has("nothing committed yet")
    assert not terminal.colours()
    if isinstance(end, str):
        terminal.press(end)
    else:
        terminal.signal(end)
    began = time.monotonic()
    assert terminal.wait() == 0
    assert terminal.restored() and time.monotonic() - began < 2
