"""A pipeline with several commit logs: hosts that share the partitions as the group pleases, killed at points of a
commit and while the logs begin, and partitions that move; every event is there once."""

import json
import signal
import tempfile
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pipeline import Pipeline
from process import until

LOGS, PARTITIONS = 4, 6
RATE = 4_000
# The first is passed while the logs begin: some of them have, others have not.
POINTS = ["start-record", "staged:2", "before-record:4", "after-record:3", "published-one:5", "published:2"]


@pytest.fixture
def runtime():
    """Stands for `/run/user/UID`. A socket's path must be short: a test's own folder is too deep."""
    with tempfile.TemporaryDirectory(prefix="run-") as folder:
        yield Path(folder)


def records(pipeline):
    """{log: its records}, read without this project's code."""
    house = pipeline.lake.processed.path("_tidemill")
    slots = {n: sorted((house / f"{pipeline.group}@{n}/log").glob("*.json")) for n in range(LOGS)}
    return {n: [json.loads(path.read_text()) for path in paths] for n, paths in slots.items()}


def flows(pipeline, hosts, seconds=40):
    """Waits until each partition has gone ahead."""
    rows = lambda: Counter(p for p, _ in pipeline.lake.offsets(pipeline.raw, "partition", "offset"))
    before = rows()
    ahead = lambda: (now := rows()) and all(now[p] > before[p] for p in range(PARTITIONS))
    until(ahead, seconds, "every partition goes ahead", every=0.3, alive=hosts)


def test_no_event_is_lost_or_doubled_in_several_logs(tidemill, kafka, buckets, name, runtime):
    kafka.create(name, partitions=PARTITIONS)
    produce = tidemill.produce(name, 0, rate=RATE)
    pipeline = Pipeline(tidemill, name, name, buckets(name), "--catalog", "glue", "--database", name.replace("-", "_"))
    logs = "--logs", LOGS
    fired, sockets = Counter(), {"XDG_RUNTIME_DIR": runtime}

    def victim(point):
        """A host that kills itself there. Its name survives, so the next one has its partitions at once."""
        host = pipeline.run(*logs, "--instance", "victim", interval="500ms", failpoint=point)
        code = host.wait(40)
        assert code == -signal.SIGKILL, (point, code, host.stderr[-2000:])
        assert f"failpoint {point.split(':')[0]}\n" in host.stderr, host.stderr[-2000:]
        fired[point.split(":")[0]] += 1

    victim(POINTS[0])
    begun = [n for n, slots in records(pipeline).items() if any(r["kind"] == "start" for r in slots)]
    assert begun == [0], "one log was to have begun, and the others not"
    start = lambda who, *more: pipeline.run(*logs, "-X", "session.timeout.ms=6000", "-X", f"client.id={who}", *more,
                                            interval="500ms", env=sockets)
    steady = start("steady")
    for point in POINTS[1:]:
        victim(point)
    again = start("again", "--instance", "victim")
    flows(pipeline, [steady, again])

    # A third one comes: partitions move. It is killed: they move again, when the group has missed it.
    third = start("third")
    until(lambda: len(c := kafka.clients(name)) == 3 and all(p for _, p in c.values()), 30, "three hosts share the topic",
          every=0.3, alive=[steady, again, third])
    flows(pipeline, [steady, again, third])
    held = {client: sorted(partitions) for client, (_, partitions) in kafka.clients(name).items()}
    third.kill()
    flows(pipeline, [steady, again])
    assert produce.alive(), "events were to stream in all the time"

    # What a host says of itself is of all its logs.
    said = tidemill("status", "--pipeline", name, "--json", **sockets)
    assert said.wait(10) == 0, said.stderr[-1000:]
    told = [json.loads(line) for line in said.stdout.splitlines()]
    assert len(told) == 2 and sorted(p for host in told for p in host["partitions"]) == [str(p) for p in range(PARTITIONS)]
    for host in told:
        assert [log["partitions"] for log in host["logs"]] == \
            [[p for p in range(PARTITIONS) if p % LOGS == n and str(p) in host["partitions"]] for n in range(LOGS)]
        assert host["commits"] and not host["attention"] and {c["log"] for c in host["recent"]} <= set(range(LOGS))
        assert len({t["name"] for t in host["transforms"]}) == len(host["transforms"]), "each transform is told once"

    assert produce.stop(30) == 0
    ends = kafka.ends(name)
    until(lambda: pipeline.lake.count(pipeline.raw) >= sum(ends.values()), 40, "all events are in the raw zone", every=0.3,
          alive=[steady, again])
    assert [steady.stop(20), again.stop(20)] == [0, 0]

    wrong = pipeline.exact(ends)
    written = records(pipeline)
    for number, slots in written.items():
        assert [r["seq"] for r in slots] == list(range(len(slots)))
        assert {a["partition"] for r in slots for a in r.get("partitions", [])} == \
            {p for p in range(PARTITIONS) if p % LOGS == number}
    writers = [len({r["writer"]["host"] for r in slots}) for slots in written.values()]
    assert set(fired) == {point.split(":")[0] for point in POINTS}, fired
    assert sum(n > 1 for n in writers) > 1, f"several hosts were to write to a log: {writers}"

    # No command is told how many logs there are.
    checked = pipeline.proven()
    count = sum(map(len, written.values()))
    assert (checked.events, checked.records) == (sum(ends.values()), count)
    shown = pipeline.log()
    assert len(shown) == count and len(pipeline.log("--shard", 2, "--last", 1_000_000)) == len(written[2])
    assert sorted(r["time"] for r in shown) == [r["time"] for r in shown]
    gone = pipeline("gc", "--older-than", "0s", "--apply", "--json")
    assert gone.code == 0, gone.stderr[-1000:]
    removed = json.loads(gone.stdout)["leftovers"]
    assert removed, "hosts that were killed were to leave something"
    assert not pipeline.lake.raw.unfinished() and not pipeline.lake.processed.unfinished()
    pipeline.proven()

    for other in 1, 3:
        refused = pipeline.run("--logs", other, "--until-end")
        assert refused.wait(30) == 2, refused.stderr[-2000:]
        assert f"with {LOGS} logs" in refused.stderr and f"set `logs` to {LOGS}" in refused.stderr
    pipeline.proven()
    print(f"{sum(ends.values())} events in {count} records of {LOGS} logs by {writers} writers; partitions as {held}; "
          f"killed at {dict(fired)} and once by hand; {len(removed)} leftovers removed; {wrong}")


def test_the_committers_of_a_host_end_together(tidemill, kafka, disk, name):
    """Each comes by at a moment of its own. One that is gone could not take partitions that the group gives to its host
    while the others are still at work."""
    kafka.create(name, partitions=LOGS)
    tidemill.produce(name, 2_000).wait(30)
    pipeline = Pipeline(tidemill, name, name, disk, "--catalog", "local")
    host = pipeline.run("--logs", LOGS, "--until-end", interval="8s")
    assert host.wait(60) == 0, host.stderr[-2000:]
    ended = datetime.now(timezone.utc)
    commits = [datetime.fromisoformat(r["time"]) for r in pipeline.log() if r["kind"] == "epoch"]
    # The log whose turn is last is committed two seconds after the one before it, so the others would end later still.
    late = (ended - max(commits)).total_seconds()
    assert len(commits) == LOGS and late < 4, (commits, ended)
    pipeline.exact(kafka.ends(name))
    print(f"the last of {LOGS} logs committed {late:.1f} s before the end")
