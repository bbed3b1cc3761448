"""Partitions that go to another host and come back, while events stream in."""

from process import until

COUNT = 90_000


def test_partitions_come_back(tidemill, kafka, disk, name):
    kafka.create(name)
    produce = tidemill.produce(name, COUNT, rate=6_000)
    arguments = [name, name, disk, "--catalog", "local"]
    first = tidemill.run(*arguments)
    until(lambda: disk.count(f"{name.replace('-', '_')}_raw"), 30, "the first host wrote rows", alive=[first])

    second = tidemill.run(*arguments)
    shared = until(lambda: len(m := kafka.members(name)) == 2 and all(m.values()) and m, 30, "two hosts share the topic",
                   alive=[first, second])
    assert produce.alive(), "the partitions were to move under way"
    assert second.stop(15) == 0
    until(lambda: sorted(map(len, kafka.members(name).values())) == [3], 30, "the first host has all of them again",
          alive=[first])
    assert produce.alive(), "the partitions were to come back under way"
    print(f"shared as {sorted(map(len, shared.values()))}, then all three with the first again")

    assert produce.wait(60) == 0
    until(lambda: disk.count(f"{name.replace('-', '_')}_raw") >= COUNT, 60, "all events are in the raw zone", alive=[first])
    assert first.stop(15) == 0
    raw = disk.offsets(f"{name.replace('-', '_')}_raw", "partition", "offset")
    assert sorted(raw) == sorted((p, o) for p, end in kafka.ends(name).items() for o in range(end)), "lost or twice"
    good, rejected = disk.offsets("user_events"), disk.rejected()
    assert len(good) + len(rejected) == COUNT and len(set(good)) == len(good)
    minutes, = disk.open().sql("select sum(events) from user_activity_per_minute").fetchall()[0]
    assert minutes == len(good)
