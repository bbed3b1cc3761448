"""The whole job beside Spark's, over the same topic in the same run: `tests/real.sh bench_beside_spark.py -s`.

Not part of the suite. Spark's job is one of those that DESIGN.md compares with: TIDEMILL_BENCH_PEERS names the folder
with `spark_job.py` and its `poms/spark.xml`. PySpark and its jars are downloaded once into the cache of the tests.

TIDEMILL_BENCH_EVENTS sets how many events (2,000,000), TIDEMILL_BENCH_RUNS how often each runs (2): the two take turns,
and the cheapest run of each counts. TIDEMILL_BENCH_JSON names a file that gets the figures.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import Tree, record
from bench_job import job  # noqa: F401  a fixture
from lake import Lake

COUNT = int(os.environ.get("TIDEMILL_BENCH_EVENTS", 2_000_000))
RUNS = int(os.environ.get("TIDEMILL_BENCH_RUNS", 2))
TINY = 3_000  # what shows the cost of a start
PYSPARK = "4.1.1"


@pytest.fixture(scope="module")
def peers():
    folder = os.environ.get("TIDEMILL_BENCH_PEERS")
    assert folder and Path(folder, "spark_job.py").exists(), "TIDEMILL_BENCH_PEERS names no folder with spark_job.py"
    return Path(folder)


@pytest.fixture(scope="module")
def spark(peers):
    """What runs Spark's job: a Python, and its environment."""
    work = Path(os.environ["TIDEMILL_TEST_CACHE"]) / "peers"
    python, jars = work / "venv/bin/python", work / "jars/spark"
    if not (jars / ".done").exists():
        subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", f"pyspark=={PYSPARK}"], check=True)
        subprocess.run(["mvn", "-q", "-B", "-f", peers / "poms/spark.xml", "dependency:copy-dependencies",
                        "-DincludeScope=runtime", f"-DoutputDirectory={jars}"], check=True)
        (jars / ".done").touch()
    return python, {**os.environ, "PEERS_WORK": str(work)}


def test_beside_spark(job, kafka, peers, spark, tmp_path):  # noqa: F811
    for topic, count in (("peers", COUNT), ("peers-tiny", TINY)):
        assert job("produce", "--brokers", kafka.brokers, "--topic", topic, "--count", count, "--bad", "0.01",
                   "--seed", "7", "--spread", "3h").wait(120) == 0
    runs = {"tidemill": [], "spark": []}
    for at in range(RUNS):
        for topic, count in (("peers-tiny", TINY), ("peers", COUNT)):
            runs["tidemill"].append((count, *tidemill_once(job, topic, count, tmp_path / f"tidemill-{topic}-{at}", at)))
            runs["spark"].append((count, *spark_once(spark, peers, kafka, topic, count, tmp_path / f"spark-{topic}-{at}")))
    costs = {}
    for name, all_of_it in runs.items():
        start = min(cpu for count, cpu, *_ in all_of_it if count == TINY)
        cpu, seconds, memory, rows = min(rest for count, *rest in all_of_it if count == COUNT)
        costs[name] = cpu / COUNT * 1e6, (cpu - start) / COUNT * 1e6, rows
        record("beside", who=name, events=COUNT, cpu_s_per_million=costs[name][0], without_start=costs[name][1],
               seconds=seconds, peak_mib=round(memory), rows=rows)
    record("ratio", whole=costs["spark"][0] / costs["tidemill"][0], without_start=costs["spark"][1] / costs["tidemill"][1])


def tidemill_once(job, topic, count, folder, at):  # noqa: F811
    lake = Lake.within(folder)
    host = job.run(topic, f"{topic}-{at}", lake, "--catalog", "none", "--until-end")
    assert host.wait(300) == 0
    assert lake.count(f"{topic.replace('-', '_')}_raw") == count
    cpu = host.rusage.ru_utime + host.rusage.ru_stime
    return cpu, host.seconds, host.rusage.ru_maxrss / 1024, lake.count("user_events")


def spark_once(spark, peers, kafka, topic, count, folder):
    python, env = spark
    out = folder / "out"
    process = Tree(f"spark-{folder.name}", [python, peers / "spark_job.py", "batch", kafka.brokers, topic, out], env, folder)
    cpu = process.wait_for_all(600)
    assert process.code == 0, process.stderr[-2000:]
    import duckdb
    rows = lambda zone: duckdb.sql(
        f"select count(*) from read_parquet('{out}/{zone}/**/*.parquet', hive_partitioning = false)").fetchall()[0][0]
    assert rows("raw") == count
    return cpu, process.seconds, process.peak, rows("clean")
