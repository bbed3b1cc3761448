"""A host told to stop commits what it has, leaves its group and goes; the next one carries on exactly."""

import signal
import time

from process import until

COUNT = 100_000


def test_sigterm_amid_the_stream_loses_and_repeats_nothing(tidemill, kafka, buckets, name):
    raw = name.replace("-", "_") + "_raw"
    lake = buckets(name)
    kafka.create(name)
    arguments = [name, name, lake, "--catalog", "glue", "--database", raw]
    produce = tidemill.produce(name, COUNT, rate=10_000)
    host = tidemill.run(*arguments)
    until(lambda: lake.count(raw), 30, "something is committed", alive=[host])

    began = time.monotonic()
    assert host.stop(10) == 0
    print(f"stopped in {time.monotonic() - began:.2f} s")
    assert kafka.left(name), "the group still has a member"
    committed = lake.offsets(raw, "partition", "offset")
    assert 0 < len(committed) < COUNT and len(set(committed)) == len(committed)
    assert all(not zone.unfinished() for zone in lake.zones), "an upload was left behind"

    assert produce.wait(60) == 0
    host = tidemill.run(*arguments, "--until-end")
    assert host.wait(60) == 0
    found = lake.offsets(raw, "partition", "offset")
    assert len(found) == COUNT
    assert set(found) == {(p, o) for p, end in kafka.ends(name).items() for o in range(end)}
    good, rejected = lake.offsets("user_events"), lake.rejected()
    assert len(good) + len(rejected) == COUNT
    assert set(good) | set(rejected) == set(found)
    events, = lake.open().sql("select sum(events) from user_activity_per_minute").fetchall()[0]
    assert events == len(good)


def test_interrupt_stops_an_idle_host(tidemill, kafka, disk, name):
    kafka.create(name)
    host = tidemill.run(name, name, disk, "--catalog", "local")
    until(lambda: kafka.members(name), 30, "the host is in its group", alive=[host])
    host.signal(signal.SIGINT)
    assert host.wait(10) == 0
    assert kafka.left(name)


def test_until_end_of_an_empty_topic_is_at_once(tidemill, kafka, disk, name):
    kafka.create(name)
    host = tidemill.run(name, name, disk, "--catalog", "local", "--until-end")
    assert host.wait(20) == 0
    assert disk.files() == {}


def test_a_host_told_to_stop_while_it_joins_ends_well(tidemill, kafka, disk, name):
    """Partitions may arrive just when the host is ending: they are left to others, and that is no error."""
    kafka.create(name)
    codes = []
    for moment in range(10):
        host = tidemill.run(name, name, disk, "--catalog", "local")
        until(lambda: kafka.clients(name), 30, "the host asks to join", every=0.01, alive=[host])
        time.sleep(moment * 0.01)  # the moment is what the test varies: there is nothing to wait for
        codes.append(host.stop(10))
        until(lambda: kafka.left(name), 30, "the group has forgotten it")
    assert codes == [0] * 10
