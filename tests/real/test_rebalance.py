"""Partitions that go to another host and come back, while events stream in; those that need not go; and those that
nobody would have."""

import re
import signal
from collections import Counter
from datetime import datetime
from itertools import pairwise

import pytest

from pipeline import Pipeline
from process import until
from ways import WAYS

COUNT = 90_000
GAP = 5  # seconds that a partition which stays may wait for a commit


def rows(pipeline):
    """Rows of the raw zone by partition."""
    return Counter(p for p, _ in pipeline.lake.offsets(pipeline.raw, "partition", "offset"))


def commits(pipeline, partition):
    """When a partition went ahead, as seconds."""
    times = [(a["partition"], r["time"]) for r in pipeline.log() for a in r.get("partitions", [])
             if a["to"] > a["from"]]
    return [datetime.fromisoformat(time).timestamp() for p, time in times if p == partition]


def ended(kafka, pipeline, produce, *hosts):
    """The topic's ends, when the stream has ended, all of it is in the raw zone and the hosts have stopped."""
    assert produce.stop(30) == 0
    ends = kafka.ends(pipeline.topic)
    until(lambda: pipeline.lake.count(pipeline.raw) >= sum(ends.values()), 30, "all events are in the raw zone",
          alive=hosts)
    assert [host.stop(15) for host in hosts] == [0] * len(hosts)
    return ends


def asks(name, partitions):
    """What a host says that sees partitions without a member."""
    return re.compile(re.escape(f"partitions {sorted(partitions)} of {name} have no member: asking the group"))


@pytest.mark.parametrize("way", WAYS)
def test_partitions_come_back(tidemill, kafka, disk, name, way):
    tidemill = tidemill.fetching(way)
    kafka.create(name)
    produce = tidemill.produce(name, COUNT, rate=6_000)
    pipeline = Pipeline(tidemill, name, name, disk, "--catalog", "local")
    first = pipeline.run("-X", "client.id=first")
    until(lambda: disk.count(pipeline.raw), 30, "the first host wrote rows", alive=[first])

    before = rows(pipeline)
    second = pipeline.run("-X", "client.id=second")
    shared = until(lambda: len(m := kafka.members(name)) == 2 and all(m.values()) and m, 30, "two hosts share the topic",
                   alive=[first, second])
    stay = kafka.clients(name)["first"][1]
    meanwhile = rows(pipeline)
    assert stay and all(meanwhile[p] > before[p] for p in stay), f"{stay} stood still: {before}, then {meanwhile}"
    until(lambda: sum(rows(pipeline).values()) > sum(meanwhile.values()), 30, "two hosts commit", alive=[first, second])
    assert produce.alive(), "the partitions were to move under way"
    assert second.stop(15) == 0
    until(lambda: sorted(map(len, kafka.members(name).values())) == [3], 30, "the first host has all of them again",
          alive=[first])
    assert produce.alive(), "the partitions were to come back under way"
    print(f"shared as {sorted(map(len, shared.values()))}, then all three with the first again")

    assert produce.wait(60) == 0
    until(lambda: disk.count(pipeline.raw) >= COUNT, 60, "all events are in the raw zone", alive=[first])
    assert first.stop(15) == 0
    raw = disk.offsets(pipeline.raw, "partition", "offset")
    assert sorted(raw) == sorted((p, o) for p, end in kafka.ends(name).items() for o in range(end)), "lost or twice"
    good, rejected = disk.offsets("user_events"), disk.rejected()
    assert len(good) + len(rejected) == COUNT and len(set(good)) == len(good)
    minutes, = disk.open().sql("select sum(events) from user_activity_per_minute").fetchall()[0]
    assert minutes == len(good)
    pipeline.proven()

    longest = {p: max(b - a for a, b in pairwise(commits(pipeline, p))) for p in kafka.ends(name)}
    print("longest time between two commits: " + ", ".join(
        f"partition {p}{' (stayed)' if p in stay else ''} {gap:.2f} s" for p, gap in longest.items()))
    assert all(longest[p] < GAP for p in stay)


def test_a_named_host_gets_its_partitions_back(tidemill, kafka, disk, name):
    kafka.create(name)
    produce = tidemill.produce(name, 0, rate=3_000)
    pipeline = Pipeline(tidemill, name, name, disk, "--catalog", "local")
    start = lambda instance: pipeline.run("--instance", instance, "-X", "session.timeout.ms=20000",
                                          "-X", f"client.id={instance}")
    moved = lambda host: len(re.findall("partitions (?:assigned|revoked)", host.stderr))
    a, b = start("a"), start("b")
    shared = until(lambda: len(m := kafka.members(name)) == 2 and all(m.values()) and kafka.clients(name), 30,
                   "two hosts share the topic", alive=[a, b])
    assert {c: instance for c, (instance, _) in shared.items()} == {"a": "a", "b": "b"}
    before = rows(pipeline)
    until(lambda: all(n > before[p] for p, n in rows(pipeline).items()) and len(rows(pipeline)) == 3, 30,
          "every partition flows", every=0.2, alive=[a, b])
    moves = moved(b)
    assert moves, "the other host was to say what it was assigned"

    assert a.stop(15) == 0
    stopped = rows(pipeline)
    again = start("a")
    mine = shared["a"][1]
    until(lambda: (now := rows(pipeline)) and all(now[p] > stopped[p] for p in mine), 15, "its partitions flow again",
          every=0.2, alive=[again, b])
    assert kafka.clients(name) == shared, "each host was to have what it had before"
    assert moved(b) == moves, "the other host was not to notice"

    ends = ended(kafka, pipeline, produce, again, b)
    longest = max(y - x for p in mine for x, y in pairwise(commits(pipeline, p)))
    print(f"{sorted(mine)} waited {longest:.2f} s for their host to come back")
    print(pipeline.exact(ends))
    pipeline.proven()


def test_a_named_host_that_dies_between_the_rounds_of_a_rebalance(tidemill, kafka, disk, name):
    """A host gives a partition up, and dies before the group has heard of it. Started anew in time, it is given what
    it was to keep, without a rebalance: nobody would ever hand out what it gave up."""
    kafka.create(name)
    produce = tidemill.produce(name, 0, rate=3_000)
    pipeline = Pipeline(tidemill, name, name, disk, "--catalog", "local")
    named = lambda failpoint=None: pipeline.run("--instance", "named", "-X", "client.id=named", failpoint=failpoint)
    owned = lambda: set().union(*kafka.members(name).values())
    first = named(failpoint="revoked")
    until(lambda: owned() == {0, 1, 2} and len(rows(pipeline)) == 3, 30, "one host has all of them", alive=[first])
    other = pipeline.run("-X", "client.id=other")
    assert first.wait(30) == -signal.SIGKILL and "failpoint revoked" in first.stderr
    left = until(lambda: len(kafka.members(name)) == 2 and owned(), 5, "the first round is over", alive=[other])
    orphans = {0, 1, 2} - left
    assert orphans, f"all partitions have a member: {kafka.clients(name)}"
    stood = rows(pipeline)

    again = named()
    again.says(asks(name, orphans), 10)
    flows = lambda: all((now := rows(pipeline))[p] > stood[p] for p in (0, 1, 2))
    until(flows, 20, "every partition flows", every=0.2, alive=[again, other])
    assert owned() == {0, 1, 2} and len(kafka.members(name)) == 2
    assert not asks(name, orphans).search(other.stderr), "a host without a name has no reason to ask"

    ends = ended(kafka, pipeline, produce, again, other)
    longest = max(y - x for p in orphans for x, y in pairwise(commits(pipeline, p)))
    print(f"{orphans} had no member; waited {longest:.2f} s from the death of their host")
    print(pipeline.exact(ends))
    pipeline.proven()


def test_a_partition_that_came_while_its_only_host_was_away(tidemill, kafka, disk, name):
    """A named host is given what the group had noted for it; that the topic has grown meanwhile nobody has seen."""
    kafka.create(name)
    pipeline = Pipeline(tidemill, name, name, disk, "--catalog", "local")
    start = lambda: pipeline.run("--instance", "named", "-X", "session.timeout.ms=30000")
    produce = tidemill.produce(name, 3_000)
    host = start()
    until(lambda: disk.count(pipeline.raw) >= 3_000, 30, "it commits", alive=[host])
    assert produce.wait(30) == 0 and host.stop(15) == 0
    assert kafka.members(name), "the group was to remember it"
    kafka.grow(name, 4)

    host = start()
    host.says(asks(name, {3}), 10)
    until(lambda: set().union(*kafka.members(name).values()) == {0, 1, 2, 3}, 20, "it has all four", alive=[host])
    assert tidemill.produce(name, 3_000).wait(30) == 0
    ends = kafka.ends(name)
    assert ends[3], "the new partition was to get events"
    until(lambda: disk.count(pipeline.raw) >= 6_000, 30, "all events are in the raw zone", alive=[host])
    assert host.stop(15) == 0
    print(pipeline.exact(ends))
    pipeline.proven()
