"""What bringing history costs: `tests/real.sh bench_backfill.py -s`. Not part of the suite."""

import os

import pytest

from host import cost
from lake import Lake
from history import hours_ago
from test_backfill import Filled, events, fill, produce, write  # noqa: F401  `fill` is a fixture

COUNT = int(os.environ.get("TIDEMILL_BENCH_EVENTS", 400_000))


@pytest.mark.parametrize("only", [None, ("clean", "activity_per_minute", "overview")], ids=["chain", "independent"])
def test_what_rows_cost(fill, kafka, tmp_path, name, only):  # noqa: F811
    kafka.create(name)
    what = list(events(COUNT, hours_ago(30), hours_ago(24)))
    write(tmp_path, what)
    produce(kafka, name, what)
    # The same through a stream, on the same machine.
    ours = fill("disk", name, transforms=only).tidemill
    job = Filled(ours, name, f"{name}-streamed", Lake.within(tmp_path / "streamed"), "--catalog", "local")
    host = job.run("--until-end")
    assert host.wait(600) == 0, host.stderr[-2000:]
    print(cost(host))
    streamed = (host.rusage.ru_utime + host.rusage.ru_stime) * 1e6 / COUNT
    for file in ("events.json.gz", "events.csv", "events.parquet", None):
        lake = fill("disk", name, transforms=only)
        done = lake.backfill("files", str(tmp_path / file)) if file else lake.kafka()
        assert done["rows"] == COUNT
        size = (tmp_path / file).stat().st_size / 2**20 if file else 0
        print(f"{file or 'kafka'} ({size:.0f} MiB): {COUNT / done['seconds']:.0f} rows a second, "
              f"{done['cpu_seconds'] * 1e6 / COUNT:.2f} CPU-s a million (streamed: {streamed:.2f})")
