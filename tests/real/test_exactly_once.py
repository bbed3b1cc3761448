"""Exactly once, whatever happens to the hosts: killed at random, at every point of a commit, or asleep for so long
that others took their partitions.

TIDEMILL_TEST_KILLS is how many kills there are, with one zombie for each eight of them: 10 for every day, 50 for the
long form. From 8 on every failpoint is among them. TIDEMILL_TEST_SEED repeats a run's choices. TIDEMILL_TEST_STATIC=1
makes each place's hosts one static member: who is restarted has its partitions at once.
"""

import os
import random
import re
import signal
import statistics
import time
from collections import Counter, deque

import pytest

from host import FETCH
from pipeline import Pipeline
from process import until

KILLS = int(os.environ.get("TIDEMILL_TEST_KILLS", 10))
ZOMBIES = max(1, KILLS // 8)
STATIC = bool(os.environ.get("TIDEMILL_TEST_STATIC"))  # each slot's hosts are one member of the group
SEED = int(os.environ.get("TIDEMILL_TEST_SEED", 0)) or random.randrange(1, 1_000_000)
RATE = 5_000
SESSION = 6  # seconds: the least that brokers allow
PATIENCE = 12  # seconds for a host's first commit, before the next fault comes all the same
# Where a commit can be cut in two. The first is passed but once in a pipeline's life: the first host dies there.
FIRST = "start-record"
POINTS = ["staged", "before-record", "after-record", "published-one", "published", "registered", "offsets"]


class Slot:
    """The place of one of the two hosts: who runs there now, and since when."""

    def __init__(self, name):
        self.name, self.host, self.client = name, None, None
        self.doomed = self.measured = self.resting = False


class Chaos:
    """Each slot lives its own life of starts and faults, as a generator that yields while it waits."""

    def __init__(self, kafka, pipeline):
        self.kafka, self.pipeline, self.random = kafka, pipeline, random.Random(SEED)
        self.slots = [Slot("a"), Slot("b")]
        self.hosts, self.kills, self.fired, self.first_commits, self.silent = [], 0, Counter(), [], 0
        self.zombie = None  # the slot whose host sleeps; the other one leaves its own alone meanwhile
        kills = (POINTS if KILLS >= 8 else [])[:KILLS - 1]
        others = [self.early, self.late, self.at_a_point]
        faults = [lambda slot, point=point: self.point(slot, point) for point in kills]
        faults += [others[i % 3] for i in range(KILLS - 1 - len(kills))]
        self.random.shuffle(faults)
        for i in range(ZOMBIES):
            faults.insert((i + 1) * len(faults) // (ZOMBIES + 1), self.asleep)
        self.faults = deque(faults)

    def run(self):
        a, b = self.slots
        self.drive([self.point(a, FIRST)])
        self.drive([self.life(a), self.life(b)])

    def drive(self, lives):
        while lives:
            for slot in self.slots:
                self.watch(slot)
            lives = [life for life in lives if next(life, "ended") != "ended"]
            time.sleep(0.05)

    def watch(self, slot):
        """Nobody dies unasked; the first commit after a kill is timed."""
        host = slot.host
        if not host:
            return
        assert host.alive() or slot.doomed, f"{host.name} ended with {host.code} and nobody had asked for it"
        if not slot.measured and "committed" in host.stderr:
            slot.measured = True
            self.first_commits += [time.monotonic() - host.started] if self.kills else []

    @staticmethod
    def wait(condition, seconds, every=0.05):
        """The condition's value, which is false when the time is up."""
        deadline = time.monotonic() + seconds
        while not (value := condition()) and time.monotonic() < deadline:
            asked = time.monotonic()
            while time.monotonic() < asked + every:
                yield
        return value

    def pause(self, least, most):
        """Chance decides when."""
        yield from self.wait(lambda: False, self.random.uniform(least, most))

    def start(self, slot, failpoint=None):
        # Brokers go on to show a static member under its first client id.
        slot.client = slot.name if STATIC else f"{slot.name}{len(self.hosts)}"
        slot.doomed, slot.measured = bool(failpoint), False
        slot.host = self.pipeline.run("-X", f"session.timeout.ms={SESSION * 1000}", "-X", "heartbeat.interval.ms=1000",
                                      "-X", f"client.id={slot.client}", *(["--instance", slot.name] if STATIC else []),
                                      interval="500ms", failpoint=failpoint)
        self.hosts.append(slot.host)

    def buried(self, slot, how):
        assert slot.host.code == -signal.SIGKILL, (slot.host.name, slot.host.code)
        if not slot.measured and not slot.doomed and slot.host.seconds > PATIENCE:
            self.first_commits.append(slot.host.seconds)
            self.silent += 1
        slot.host, self.kills = None, self.kills + 1
        self.fired[how] += 1

    def kill(self, slot, how):
        assert slot.host.alive()
        slot.host.kill()
        self.buried(slot, how)

    def steady(self, slot):
        """A host is there and has committed; or the other one has all partitions, and commits."""
        if not slot.host:
            self.start(slot)
        slot.doomed = False
        began = time.time() - (time.monotonic() - slot.host.started)
        patience = PATIENCE - (time.monotonic() - slot.host.started)
        if not (yield from self.wait(lambda: slot.measured, patience)) \
                and not self.kafka.clients(self.pipeline.group).get(slot.client, (None, ()))[1]:
            slot.measured = True
            after = [t for path in self.pipeline.slots().values() if (t := path.stat().st_mtime) > began]
            self.first_commits += [min(after) - began] if after else []

    def life(self, slot):
        while self.faults:
            if self.zombie in (None, slot):
                slot.resting = False
                yield from self.faults.popleft()(slot)
                if self.random.random() < 0.3:  # so that both are at work now and then
                    yield from self.steady(slot)
                    yield from self.pause(0, 2)
            else:
                yield from self.steady(slot)
                slot.resting = True
                yield
        yield from self.steady(slot)
        slot.resting = True

    def early(self, slot):
        """Killed while it starts."""
        if not slot.host:
            self.start(slot)
        yield from self.pause(0, 3)
        self.kill(slot, "killed early")

    def late(self, slot):
        """Killed amid its work."""
        yield from self.steady(slot)
        yield from self.pause(0, 1)
        self.kill(slot, "killed late")

    def at_a_point(self, slot):
        """Killed at a point of its first, second or third commit."""
        point = self.random.choice([p for p in POINTS if p != "registered"])  # which is passed only for a new hour
        yield from self.point(slot, f"{point}:{self.random.randint(1, 3)}")

    def point(self, slot, point):
        """Killed by itself, there."""
        if slot.host:
            self.kill(slot, "killed late")
        self.start(slot, failpoint=point)
        host, name = slot.host, point.split(":")[0]
        yield from self.wait(lambda: not host.alive(), 40)
        assert not host.alive(), f"{host.name} did not come by {point} within 40 s"
        assert re.search(f"^failpoint {name}$", host.stderr, re.M), f"{host.name} did not die at {point}"
        self.buried(slot, name)

    def asleep(self, slot):
        """Stopped for so long that its partitions went to the other host; then it wakes, amid whatever it was doing."""
        self.zombie, other, group = slot, self.slots[self.slots[0] is slot], self.pipeline.group
        yield from self.steady(slot)
        assert (yield from self.wait(lambda: other.resting, 90)), "the other host did not come to rest"
        both = lambda: len(c := self.kafka.clients(group)) == 2 and all(p for _, p in c.values()) and c
        found = yield from self.wait(both, 30, every=0.3)
        assert found, f"the hosts do not share the topic: {self.kafka.clients(group)}"
        mine = found[slot.client][1]
        yield from self.pause(0, 0.5)
        slot.host.signal(signal.SIGSTOP)
        slept, length = time.monotonic(), self.random.uniform(8, 12)
        gone = lambda: slot.client not in self.kafka.clients(group)
        assert (yield from self.wait(gone, 20, every=0.3)), "still a member of the group"
        last = max(self.pipeline.slots())
        assert (yield from self.wait(lambda: mine & self.pipeline.partitions_after(last), 20, every=0.3)), \
            f"nobody committed for its partitions {mine} meanwhile"
        yield from self.wait(lambda: False, slept + length - time.monotonic())
        assert slot.host.alive() and gone()
        commits = slot.host.stderr.count("committed")
        slot.host.signal(signal.SIGCONT)
        self.fired["asleep"] += 1
        if self.fired["asleep"] % 3 == 2:
            yield from self.pause(0, 1)
            self.kill(slot, "killed on waking")
        else:
            again = lambda: slot.host.stderr.count("committed") > commits and slot.client in self.kafka.clients(group)
            assert (yield from self.wait(again, 40, every=0.3)), f"{slot.host.name} did not recover from its sleep"
        self.zombie = None


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@pytest.mark.timeout(240 + 30 * KILLS)
@pytest.mark.parametrize("place,way", [("s3", "direct"), ("disk", FETCH)])
def test_no_event_is_lost_or_doubled(tidemill, kafka, request, name, place, way):
    tidemill = tidemill.fetching(way)
    if place == "s3":
        pipeline = Pipeline(tidemill, name, name, request.getfixturevalue("buckets")(name),
                            "--catalog", "glue", "--database", name.replace("-", "_"))
    else:
        pipeline = Pipeline(tidemill, name, name, request.getfixturevalue("disk"), "--catalog", "local")
    lake = pipeline.lake
    print(f"seed {SEED}: {KILLS} kills, {ZOMBIES} zombies on {place}")
    kafka.create(name)
    produce = tidemill.produce(name, 0, rate=RATE)
    chaos, began = Chaos(kafka, pipeline), time.monotonic()
    chaos.run()
    took = time.monotonic() - began
    assert produce.alive(), "events were to stream in all the time"
    assert produce.stop(60) == 0

    ends, hosts = kafka.ends(name), [slot.host for slot in chaos.slots]
    until(lambda: lake.count(pipeline.raw) >= sum(ends.values()), 60, "all events are in the raw zone", every=0.3,
          alive=hosts)
    assert [host.stop(20) for host in hosts] == [0, 0]

    said = "".join(host.stderr for host in chaos.hosts)
    wrong = pipeline.wrong(*((p, 0, end) for p, end in ends.items()))
    first = chaos.first_commits
    print(f"{chaos.kills} kills and {chaos.fired['asleep']} zombies in {took:.0f} s on {place}: {dict(chaos.fired)}\n"
          f"{sum(ends.values())} events in {len(pipeline.slots())} records, {sum(map(len, lake.files().values()))} files; "
          f"recoveries {len(re.findall('going back|abandoned', said))}, rolled forward {said.count('rolled forward')}\n"
          f"start to first commit: median {statistics.median(first):.1f} s, p99 {percentile(first, 0.99):.1f} s "
          f"of {len(first)}, {chaos.silent} of which were killed before it\n"
          f"losses {wrong['lost']}, duplicates {wrong['twice']}; in all: {wrong}")
    assert chaos.kills >= KILLS and chaos.fired["asleep"] >= ZOMBIES
    assert KILLS < 8 or all(chaos.fired[point] for point in (FIRST, *POINTS)), chaos.fired
    assert not any(wrong.values()), wrong
    assert "panicked" not in said
    checked = pipeline.proven()
    assert checked.events == sum(ends.values()) and checked.records == len(pipeline.slots())


def test_a_host_killed_while_it_sums_up_the_log(tidemill, kafka, disk, name):
    """Each hundredth record is followed by a summary, which is no more than a short cut."""
    kafka.create(name)
    pipeline = Pipeline(tidemill, name, name, disk, "--catalog", "local")
    produce = tidemill.produce(name, 0, rate=1_000)
    host = pipeline.run(interval="100ms", failpoint="summary")
    assert host.wait(150) == -signal.SIGKILL and "failpoint summary" in host.stderr
    at = len(pipeline.slots())
    assert at >= 100
    host = pipeline.run(interval="100ms")
    until(lambda: len(pipeline.slots()) > at + 10, 30, "it goes on", alive=[host, produce])
    assert produce.stop(30) == 0
    assert host.stop(20) == 0
    pipeline.until_end()
    print(f"killed at record {at} of {len(pipeline.slots())}; {pipeline.exact(kafka.ends(name))}")
    assert pipeline.proven().records == len(pipeline.slots()) == len(pipeline.log())
