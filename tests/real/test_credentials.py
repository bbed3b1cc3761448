"""Keys that live for seconds and are withdrawn, a clock that is wrong, and a store that throttles: nothing is lost."""

import re
from datetime import timedelta

import pytest

from desk import Desk
from pipeline import Pipeline
from process import until
from refusing import Refusing

RATE = 2_000
LIFETIME = 10  # s, of keys
THROTTLED = 30  # requests


@pytest.fixture
def desk(s3):
    desk = Desk(s3.access_key, s3.secret_key, LIFETIME)
    yield desk
    desk.close()


@pytest.fixture
def store(s3, desk):
    store = Refusing(s3.port, "xml", desk)
    yield store
    store.close()


def test_keys_clock_and_throttling_cost_nothing_but_time(tidemill, kafka, buckets, store, desk, name):
    lake = buckets(name)
    pipeline = Pipeline(tidemill, name, name, lake, "--catalog", "none")
    kafka.create(name)
    store.ahead = timedelta(minutes=20)
    host = pipeline.run(env={**desk.environment, "AWS_ENDPOINT_URL_S3": store.url})
    host.says(re.compile(r"RequestTimeTooSkewed: this machine's clock .* NTP"), 20)
    assert host.alive(), "a clock can be set while it waits"
    store.passes()
    produce = tidemill.produce(name, 0, rate=RATE)
    count, both = lambda: lake.count(pipeline.raw), [produce, host]

    def flows(why, seconds=20):
        before = count()
        until(lambda: count() > before, seconds, f"events flow {why}", every=0.2, alive=both)

    flows("once the clock is right")
    before = desk.handed_out
    until(lambda: desk.handed_out >= before + 3, 4 * LIFETIME, "keys are renewed", alive=both)
    flows("with renewed keys")
    renewed, looked, refused = desk.handed_out, desk.looked, store.counts["ExpiredToken"]
    assert refused == 0, "keys were used that had expired"
    assert looked <= 6 * renewed, f"{looked} look-ups for {renewed} keys"

    desk.withdraw()
    until(lambda: store.counts["ExpiredToken"] > 0, 10, "withdrawn keys are refused", alive=both)
    flows("after keys were withdrawn", 10)

    skewed = store.counts["RequestTimeTooSkewed"]
    store.ahead = -timedelta(minutes=20)
    until(lambda: store.counts["RequestTimeTooSkewed"] >= skewed + 5, 30, "the clock is refused", alive=both)
    store.passes()
    flows("after the clock was set")

    store.refuse("SlowDown")
    until(lambda: store.counts["SlowDown"] >= THROTTLED, 40, "the store throttles", alive=both)
    store.passes()
    flows("after throttling")

    assert produce.stop(60) == 0
    ends = kafka.ends(name)
    until(lambda: count() >= sum(ends.values()), 60, "all events are in the raw zone", alive=[host])
    assert host.stop(20) == 0
    print(f"{renewed} keys of {LIFETIME} s with {looked} look-ups and {refused} refusals; then {dict(store.counts)}; "
          f"{sum(ends.values())} events; went back {len(re.findall('abandoned', host.stderr))} times; "
          f"{pipeline.exact(ends)}")
    assert pipeline.proven().events == sum(ends.values())
