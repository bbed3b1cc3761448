"""What the whole job costs: `tests/real.sh bench_job.py -s`. Not part of the suite; prints, and checks counts.

Kafka → raw + clean + activity_per_minute → Parquet, committed each second. Processor time is that of the whole host
(user + system) without the broker's and the store's; what a host takes for an empty topic is shown as `start`.

TIDEMILL_BENCH_EVENTS sets how many events (5,000,000), TIDEMILL_BENCH_ARGS further flags of the host,
TIDEMILL_BENCH_JSON a file that gets the figures, a line of JSON each. docs/performance.md says how to read them.
"""

import os
import shutil

import pytest

from bench import Threads, cpu, record
from lake import Lake

COUNT = int(os.environ.get("TIDEMILL_BENCH_EVENTS", 5_000_000))
ARGS = os.environ.get("TIDEMILL_BENCH_ARGS", "").split()
JOB = ("clean", "activity_per_minute")


@pytest.fixture(scope="module")
def job(tidemill, tmp_path_factory):
    """Hosts of the two transforms that the job has."""
    folder = tmp_path_factory.mktemp("job")
    for name in JOB:
        shutil.copy(tidemill.transforms / f"{name}.wasm", folder)
    ours = tidemill.with_transforms(tmp_path_factory.mktemp("none") / "transforms")
    ours.transforms = folder
    return ours


@pytest.fixture(scope="module")
def preloaded(job, kafka):
    produce = job.produce("bench", COUNT, 0)
    assert produce.wait(300) == 0
    record("produce", events=COUNT, cpu_s_per_million=cpu(produce) / COUNT * 1e6)
    kafka.create("bench-empty")


@pytest.mark.parametrize("attempt", [1, 2, 3])
@pytest.mark.parametrize("fetch", ["librdkafka", "direct"])
@pytest.mark.parametrize("place,lanes", [("disk", 2), ("disk", 1), ("s3", 2)])
def test_cost(job, preloaded, buckets, tmp_path, place, lanes, fetch, attempt):
    name = f"{place}-{lanes}-{fetch}-{attempt}"
    lake = Lake.within(tmp_path) if place == "disk" else buckets(f"bench-{name}")
    nothing = Lake.within(tmp_path / "empty") if place == "disk" else buckets(f"bench-empty-{name}")
    flags = ["--catalog", "none", "--until-end", "--lanes", lanes, "--fetch", fetch, *ARGS]
    empty = job.run("bench-empty", f"empty-{name}", nothing, *flags)
    assert empty.wait(60) == 0
    host = job.run("bench", f"bench-{name}", lake, *flags)
    threads = Threads(host.pid)
    assert host.wait(600) == 0
    assert lake.count("bench_raw") == COUNT
    assert lake.count("user_events") + len(lake.rejected()) == COUNT
    record("job", place=place, lanes=lanes, fetch=fetch, events=COUNT, seconds=host.seconds,
           events_per_cpu_s=round(COUNT / cpu(host)), cpu_s_per_million=cpu(host) / COUNT * 1e6, start_cpu_s=cpu(empty),
           peak_mib=host.rusage.ru_maxrss // 1024, system_share=host.rusage.ru_stime / cpu(host),
           **{f"thread {name}": seconds for name, seconds in threads.stop().items()})
