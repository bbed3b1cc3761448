"""What the main job costs: `tests/real.sh bench_main_job.py -s`. Not part of the suite; prints, and checks counts.

TIDEMILL_BENCH_EVENTS sets how many events (2,000,000). CPU is that of the whole process (user + system), without the
broker's; one warm-up run over an empty topic is taken off to show start-up apart.
"""

import os
import subprocess

import pytest

from lake import Lake

COUNT = int(os.environ.get("TIDEMILL_BENCH_EVENTS", 2_000_000))


@pytest.fixture(scope="module")
def preloaded(tidemill, kafka):
    produce = tidemill.produce("bench", COUNT)
    assert produce.wait(300) == 0
    cpu = produce.rusage.ru_utime + produce.rusage.ru_stime
    print(f"produced {COUNT} in {produce.seconds:.1f} s, {cpu / COUNT * 1e6:.2f} CPU-s a million")
    kafka.create("bench-empty")


@pytest.mark.parametrize("place", ["disk", "s3"])
@pytest.mark.parametrize("attempt", [1, 2])
def test_cost(tidemill, preloaded, buckets, tmp_path, place, attempt):
    if place == "disk":
        lake, catalog = Lake.within(tmp_path), "local"
    else:
        lake, catalog = buckets(f"bench-{attempt}"), "glue"
    extra = ["--database", f"bench_{attempt}", *os.environ.get("TIDEMILL_BENCH_ARGS", "").split()]
    empty = tidemill.run("bench-empty", f"empty-{place}-{attempt}", lake, "--catalog", catalog, "--until-end", *extra)
    assert empty.wait(60) == 0
    start = empty.rusage.ru_utime + empty.rusage.ru_stime
    host = tidemill.run("bench", f"bench-{place}-{attempt}", lake, "--catalog", catalog, "--until-end", *extra)
    assert host.wait(600) == 0
    cpu = host.rusage.ru_utime + host.rusage.ru_stime
    assert lake.count("bench_raw") == COUNT
    assert lake.count("user_events") + len(lake.rejected()) == COUNT
    machine = subprocess.run(["nproc"], capture_output=True, text=True).stdout.strip()
    print(f"\n{place}: {COUNT} events, {machine} cores: {host.seconds:.1f} s wall ({COUNT / host.seconds:,.0f} events/s), "
          f"{cpu / COUNT * 1e6:.2f} CPU-s a million ({(cpu - start) / COUNT * 1e6:.2f} without start-up of {start:.2f}), "
          f"peak {host.rusage.ru_maxrss / 1024:.0f} MiB")
