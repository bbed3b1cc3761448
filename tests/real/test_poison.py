"""Ten poison rows among many: they are rejected, everything else goes through, and it costs seconds.

TIDEMILL_TEST_POISON is among how many events they are: 200,000 for every day, 1000000 for the long form.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from host import BINARY
from lake import Lake
from pipeline import Pipeline

EVENTS = int(os.environ.get("TIDEMILL_TEST_POISON", 200_000))
POISON = b'{"user_id":"u1","event_type":"click","timestamp":"2025-12-02T10:00:00Z","page":"/poison"}'
GUESTS = Path(__file__).resolve().parent.parent / "guests"
REASONS = {"trap_on_value": "poison: trapped: wasm `unreachable` instruction executed",
           "loop_in_process": "poison: took too long"}


@pytest.fixture(scope="module")
def topic(tidemill, kafka):
    """One partition, and a poison row after each tenth of the events."""
    kafka.create("poison", partitions=1)
    producer, places = kafka.producer(), []
    for _ in range(10):
        assert tidemill.produce("poison", EVENTS // 10).wait(120) == 0
        places.append(kafka.ends("poison")[0])
        producer.produce("poison", POISON)
        assert producer.flush(30) == 0
    return places


@pytest.fixture(scope="module")
def evil(tmp_path_factory, transforms):
    """A directory with the shipped transforms and the evil one, told what to do."""
    out = tmp_path_factory.mktemp("guests")
    env = {k: v for k, v in os.environ.items() if not k.startswith("TIDEMILL_")}
    subprocess.run([BINARY, "build", GUESTS, "--out", out], check=True, env=env)

    def told(behaviour):
        folder = tmp_path_factory.mktemp(behaviour)
        for wasm in transforms.glob("*.wasm"):
            shutil.copy(wasm, folder)
        shutil.copy(out / "evil.wasm", folder)
        on = "" if behaviour == "honest" else 'on = "/poison"\n'
        (folder / "evil.toml").write_text(f'[config]\ndo = "{behaviour}"\n{on}')
        return folder
    return told


def test_ten_poison_rows_cost_seconds(tidemill, kafka, topic, evil, tmp_path, name):
    took, shipped = {}, tidemill.transforms
    for behaviour in ("honest", *REASONS):
        lake = Lake.within(tmp_path / behaviour)
        pipeline = Pipeline(tidemill, "poison", f"{name}-{behaviour}", lake, "--catalog", "local")
        tidemill.transforms = evil(behaviour)
        try:
            # Compiled before, so that no run pays for it.
            assert tidemill("graph", "--topic", "poison", "--transforms", tidemill.transforms).wait(60) == 0
            host = pipeline.run("--until-end")
            assert host.wait(300) == 0, host.stderr[-2000:]
        finally:
            tidemill.transforms = shipped
        took[behaviour] = host.seconds
        db = lake.open()
        found = db.sql("""select "offset", reason, transform, value from rejected_events
                          where reason like 'poison%' order by all""").fetchall()
        wanted = [] if behaviour == "honest" else [(at, REASONS[behaviour], "evil", POISON) for at in topic]
        assert found == wanted, found[:3]
        end = kafka.ends("poison")[0]
        rows = {t: lake.count(t) for t in ("poison_raw", "user_events", "evil")}
        bad = db.sql("""select count(*) from rejected_events where coalesce(transform, 'clean') = 'clean'""").fetchall()[0][0]
        undecoded = db.sql("select count(*) from rejected_events where stage = 'decode'").fetchall()[0][0]
        assert rows["poison_raw"] == end and rows["user_events"] == end - bad, (rows, end, bad)
        assert rows["evil"] == end - undecoded - len(wanted), (rows, end, undecoded)
        assert pipeline.proven().events == end
    for behaviour in REASONS:
        print(f"{behaviour}: ten poison rows among {EVENTS} cost {took[behaviour] - took['honest']:.1f} s of "
              f"{took[behaviour]:.1f} s; without them {took['honest']:.1f} s")
        assert took[behaviour] - took["honest"] <= 10


def test_history_has_poison_rows_too(tidemill, kafka, topic, evil, tmp_path, name):
    """A lake that begins behind all of them: they are found and rejected one by one when history is brought."""
    pipeline = Pipeline(tidemill, "poison", name, Lake.within(tmp_path / "lake"), "--catalog", "local")
    shipped, tidemill.transforms = tidemill.transforms, evil("trap_on_value")
    try:
        pipeline.until_end("--start", "latest")
    finally:
        tidemill.transforms = shipped
    done = pipeline("backfill", "kafka", "--brokers", kafka.brokers, seconds=120)
    assert done.code == 0, done.stderr[-2000:]
    found = pipeline.lake.open().sql("""select "offset", reason from rejected_events
                                        where transform = 'evil' order by 1""").fetchall()
    assert found == [(place, REASONS["trap_on_value"]) for place in topic]
    assert pipeline.lake.count(pipeline.raw) == kafka.ends("poison")[0]
    pipeline.proven()
