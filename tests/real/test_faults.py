"""Brokers that are restarted, and a store that fails, lies about what it did, or falls silent.

TIDEMILL_TEST_SILENCE is for how many seconds the store is silent (12).
"""

import os
import re
import time

from host import Tidemill
from kafka import Kafka
from pipeline import Pipeline
from process import until
from proxy import ERRORS, HELD, LATE, RECORD

RATE = 5_000
RESTARTS = 5
ERROR_SHARE, ERROR_SECONDS = 0.2, 20
SILENCE = int(os.environ.get("TIDEMILL_TEST_SILENCE", 12))
MEMORY = 400  # MiB


def hold(seconds, fired, what, alive):
    """Lets a fault last, and longer if it has not yet `fired`; who has to live through it is watched."""
    began = time.monotonic()
    until(lambda: time.monotonic() - began >= seconds and fired(), seconds + 30, what, alive=alive)


def test_a_broker_that_is_restarted_costs_nothing(tmp_path_factory, s3, glue, transforms, disk, name):
    folder = tmp_path_factory.mktemp("restarted")
    kafka = Kafka(folder / "broker", os.environ["TIDEMILL_TEST_KAFKA"])  # of its own: the others go on
    tidemill = Tidemill(folder / "tidemill", kafka, s3, glue, transforms)
    pipeline = Pipeline(tidemill, name, name, disk, "--catalog", "local")
    kafka.create(name)
    produce = tidemill.produce(name, 0, rate=RATE)
    host = pipeline.run()
    both, took = [produce, host], []
    for _ in range(RESTARTS):
        before = disk.count(pipeline.raw)
        until(lambda: disk.count(pipeline.raw) > before, 60, "events flow", every=0.2, alive=both)
        began = time.monotonic()
        kafka.restart()
        took.append(time.monotonic() - began)
    before = disk.count(pipeline.raw)
    until(lambda: disk.count(pipeline.raw) > before, 60, "events flow after the last restart", every=0.2, alive=both)
    assert produce.stop(60) == 0, produce.stderr
    ends = kafka.ends(name)
    until(lambda: disk.count(pipeline.raw) >= sum(ends.values()), 60, "all events are in the raw zone", alive=[host])
    assert host.stop(20) == 0
    print(f"{RESTARTS} restarts of {', '.join(f'{t:.1f}' for t in took)} s under {sum(ends.values())} events")
    print(pipeline.exact(ends))
    assert pipeline.proven().events == sum(ends.values())
    kafka.process.stop(30)


def test_a_store_in_trouble_costs_nothing_but_time(tidemill, kafka, buckets, proxy, name):
    lake = buckets(name)
    pipeline = Pipeline(tidemill, name, name, lake, "--catalog", "glue", "--database", name.replace("-", "_"))
    kafka.create(name)
    produce = tidemill.produce(name, 0, rate=RATE)
    host = pipeline.run("--memory", "128MiB", env={"AWS_ENDPOINT_URL_S3": proxy.url})
    both = [produce, host]
    count = lambda: lake.count(pipeline.raw)
    until(count, 30, "something is committed before the trouble", alive=both)

    before = count()
    proxy.errors(ERROR_SHARE)
    hold(ERROR_SECONDS, lambda: all(proxy.counts[e] for e in ERRORS) and proxy.records["lost reply"],
         "the store fails in every way", both)
    amid = count() - before
    assert amid > 0, f"nothing was committed under {ERROR_SHARE:.0%} errors"
    proxy.silent(only=RECORD)
    hold(SILENCE / 3, lambda: proxy.records[HELD], "the store says nothing to a record", both)
    proxy.silent()
    hold(SILENCE, lambda: proxy.counts[HELD] > proxy.records[HELD], "the store says nothing at all", both)

    proxy.passes()
    began, behind = time.monotonic(), sum(kafka.ends(name).values())
    until(lambda: count() >= behind, 20, f"what came in meanwhile, {behind - before - amid} events, is visible",
          every=0.2, alive=both)
    recovered = time.monotonic() - began
    sent, began = [], time.monotonic()
    producer = kafka.producer()
    producer.produce(name, b"fresh", on_delivery=lambda error, message: sent.append((error, message)))
    assert producer.flush(10) == 0 and not sent[0][0]
    fresh = sent[0][1].partition(), sent[0][1].offset()
    seen = f'select count(*) from {pipeline.raw} where partition = {fresh[0]} and "offset" = {fresh[1]}'
    until(lambda: lake.open().sql(seen).fetchall()[0][0], 10, "a fresh event is visible", every=0.2, alive=both)
    freshness = time.monotonic() - began

    assert produce.stop(60) == 0
    ends = kafka.ends(name)
    until(lambda: count() >= sum(ends.values()), 60, "all events are in the raw zone", alive=[host])
    assert host.stop(20) == 0
    peak = host.rusage.ru_maxrss / 1024
    print(f"{amid} events visible in {ERROR_SECONDS} s of errors; caught up {recovered:.1f} s after {SILENCE} s of "
          f"silence, a fresh event is visible after {freshness:.1f} s; peak {peak:.0f} MiB\n"
          f"{dict(proxy.counts)}, of these to records {dict(proxy.records)}; "
          f"went back {len(re.findall('going back|abandoned', host.stderr))} times; {pipeline.exact(ends)}")
    assert proxy.records[LATE], "a record was to arrive when nobody waited for it any more"
    assert peak < MEMORY
    assert pipeline.proven().events == sum(ends.values())
