"""How fresh the processed table is under load: `tests/real.sh bench_freshness.py -s`. Not part of the suite.

From an event's timestamp in Kafka to the moment at which its file can be listed on S3, for every event, with a commit
each second. Nothing that a host says is taken, but what its own metric says is printed beside it.

TIDEMILL_BENCH_RATES sets the events a second that are offered (10000,100000,500000), TIDEMILL_BENCH_SECONDS for how
long (20), TIDEMILL_BENCH_JSON a file that gets the figures.
"""

import os
import threading
import time

import pytest

from bench import Threads, cpu, record
from bench_job import job  # noqa: F401  a fixture
from metrics import Scraper
from process import free_port, until

RATES = [int(rate) for rate in os.environ.get("TIDEMILL_BENCH_RATES", "10000,100000,500000").split(",")]
SECONDS = int(os.environ.get("TIDEMILL_BENCH_SECONDS", 20))
WARM_UP = 3  # seconds whose events are left out: the host has just taken its partitions


class Seen(threading.Thread):
    """When each file of a table could be listed: the moment before the list that was the first to have it was asked
    for is at most one interval earlier, so ages are up to that too old, never too young."""

    EVERY = 0.05

    def __init__(self, bucket, table):
        super().__init__(daemon=True)
        self.bucket, self.table, self.seen, self._ends = bucket, table, {}, threading.Event()
        self.start()

    def run(self):
        client, name = self.bucket.s3.client, self.bucket.name
        while not self._ends.wait(self.EVERY):
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=name, Prefix=f"{self.table}/")
            keys = [o["Key"] for page in pages for o in page.get("Contents", [])]
            now = time.time()
            for key in keys:
                self.seen.setdefault(key, now)

    def stop(self):
        self._ends.set()
        self.join(30)
        return self.seen


@pytest.mark.parametrize("rate", RATES)
def test_freshness(job, kafka, buckets, rate):  # noqa: F811
    topic, lake, port = f"fresh-{rate}", buckets(f"fresh-{rate}"), free_port()
    kafka.create(topic)
    host = job.run(topic, topic, lake, "--catalog", "none", env={"TIDEMILL_HTTP": f"127.0.0.1:{port}"})
    until(lambda: kafka.members(topic), 30, "the host has its partitions", alive=[host])
    seen, threads = Seen(lake.processed, "user_events"), Threads(host.pid)
    produce = job("produce", "--brokers", kafka.brokers, "--topic", topic, "--rate", rate, "--count", rate * SECONDS,
                  "--bad", "0.01", "--seed", "7", "-X", "linger.ms=5")
    assert produce.wait(SECONDS * 5) == 0
    count = rate * SECONDS
    until(lambda: lake.count(f"{topic.replace('-', '_')}_raw") == count, 120, "all of it is there", every=1, alive=[host])
    own = Scraper(port)()
    assert host.stop(30) == 0
    db = lake.open()
    files = [(str(lake.processed.path(key)), at) for key, at in seen.stop().items()]
    db.execute("create table seen (filename text, moment double)")
    db.executemany("insert into seen values (?, ?)", files)
    first, *ages, over = db.sql(f"""
        with ages as (
            select s.moment - epoch(r.timestamp) as age, epoch(r.timestamp) as born
            from user_events e join seen s using (filename)
            join {topic.replace('-', '_')}_raw r on r.partition = e.kafka_partition and r."offset" = e.kafka_offset)
        select count(*), quantile_cont(age, 0.5), quantile_cont(age, 0.95), quantile_cont(age, 0.99), max(age),
               avg((age > 2)::int)
        from ages where born > (select min(born) + {WARM_UP} from ages)""").fetchall()[0]
    assert first > count * 0.5, first
    record("freshness", offered=rate, produced=round(count / produce.seconds), events=first, interval_s=1.0,
           p50_s=ages[0], p95_s=ages[1], p99_s=ages[2], worst_s=ages[3], share_over_2_s=over,
           own_metric_p99_s=bound(own, 0.99), cpu_s_per_million=cpu(host) / count * 1e6,
           peak_mib=host.rusage.ru_maxrss // 1024, **{f"thread {n}": s for n, s in threads.stop().items()})


def bound(metrics, share):
    """The bound of the histogram's bucket in which that share of the commits is."""
    series = metrics.families["tidemill_freshness_seconds"].series
    buckets = sorted((float(dict(labels)["le"]), count) for (name, labels), count in series.items() if "_bucket" in name)
    return next(le for le, count in buckets if count >= share * buckets[-1][1])
