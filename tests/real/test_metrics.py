"""/metrics of a real host: all of docs/metrics.md and nothing else, and every figure is what the lake holds."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from host import BINARY
from metrics import Scraper
from pipeline import Pipeline
from process import free_port, until

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "ops"))
from check import documented  # noqa: E402  the table of docs/metrics.md, read by what checks the dashboard

EVENTS, POISON = 20_000, 5
ROW = b'{"user_id":"u1","event_type":"click","timestamp":"2025-12-02T10:00:00Z","page":"/poison"}'
# What has a value for each of many things; all other labels are known beforehand.
KNOWN = {"kind": {"in", "emitted", "rejected", "filtered", "absorbed", "trap", "timeout", "memory", "invalid", "other"},
         "step": {"barrier", "stage", "record", "publish", "register", "total"}, "outcome": {"ok", "error"},
         "zone": {"raw", "processed"}}


@pytest.fixture(scope="module")
def guests(tmp_path_factory):
    """The guests that mean harm, as components."""
    out = tmp_path_factory.mktemp("guests")
    env = {k: v for k, v in os.environ.items() if not k.startswith("TIDEMILL_")}
    subprocess.run([BINARY, "build", ROOT / "tests" / "guests", "--out", out], check=True, env=env)
    return out


@pytest.fixture
def directory(tidemill, tmp_path, guests):
    """A host with the transforms that ship, and the evil one told what to do."""
    def told(do):
        ours = tidemill.with_transforms(tmp_path / "transforms")
        shutil.copy(guests / "evil.wasm", ours.transforms)
        (ours.transforms / "evil.toml").write_text(f"[config]\n{do}\n")
        return ours
    return told


def promtool(text):
    """The findings of `promtool check metrics`."""
    done = subprocess.run([os.environ["TIDEMILL_TEST_PROMTOOL"], "check", "metrics"], input=text.encode(),
                          capture_output=True, timeout=60)
    return done.returncode, (done.stdout + done.stderr).decode()


def test_metrics_are_what_is_documented_and_what_the_lake_holds(directory, kafka, buckets, name):
    kafka.create(name)
    ours, lake, port = directory('do = "trap_on_value"\non = "/poison"'), buckets(name), free_port()
    pipeline = Pipeline(ours, name, name, lake, "--catalog", "glue", "--database", name.replace("-", "_"))
    scrape = Scraper(port)
    host = pipeline.run("--http", f"127.0.0.1:{port}", "--json")

    def produce(count):
        assert ours.produce(name, count).wait(60) == 0

    def committed():
        """When all that is in the topic is committed."""
        end = sum(kafka.ends(name).values())
        return until(lambda: (now := scrape())("tidemill_events_total") == end and now, 60, f"{end} events", every=0.2,
                     alive=[host])

    host.says(re.compile("partitions assigned"), 60)
    produce(EVENTS)
    producer = kafka.producer()
    for _ in range(POISON):
        producer.produce(name, ROW)
    for bad in (b"", b"[]", b'{"user_id": 7}', b"\xff"):
        producer.produce(name, bad)
    assert producer.flush(30) == 0
    before = committed()
    # Another component, and one that is none.
    clean = ours.transforms / "clean.wasm"
    clean.write_bytes(clean.read_bytes() + b"\x00\x02\x01x")
    swapped = lambda: scrape()("tidemill_transform_swaps_total") > before("tidemill_transform_swaps_total")
    until(swapped, 60, "a lane went over", every=0.1, alive=[host])
    (ours.transforms / "broken.wasm").write_bytes(b"this is no WebAssembly\n")
    until(lambda: scrape()("tidemill_transforms_refused") == 1, 60, "the broken one is refused", every=0.1, alive=[host])
    produce(EVENTS // 4)
    committed()
    at_rest = lambda: (now := scrape())("tidemill_partition_lag_events") == 0 and not now("tidemill_staged_bytes") and now
    now = until(at_rest, 20, "nothing is under way", every=0.2, alive=[host])

    code, said = promtool(now.text)
    print(f"{len(now.families)} metrics, {len(now.text.splitlines())} lines, {len(now.text)} bytes; promtool: {said or 'fine'}")
    assert code == 0 and not said, said

    table = documented()
    assert set(now.families) == set(table), \
        f"only documented: {set(table) - set(now.families)}; only exposed: {set(now.families) - set(table)}"
    assert {name: family.kind for name, family in now.families.items()} == {m.name: m.kind for m in table.values()}
    assert {name: set(now.labels(name)) for name in now.families} == {m.name: m.labels for m in table.values()}
    assert all(family.help for family in now.families.values())
    found = {label: set().union(*(now.labels(n).get(label, set()) for n in now.families)) for label in KNOWN}
    assert all(found[label] <= KNOWN[label] for label in KNOWN), found
    assert found["step"] == KNOWN["step"] and found["zone"] == KNOWN["zone"]

    files, db, ends = lake.files(), lake.open(), kafka.ends(name)
    rows = {of: db.sql(f"select count(*) from {of}").fetchall()[0][0] for of in files}
    assert now("tidemill_events_total") == rows[pipeline.raw] == sum(ends.values())
    assert now("tidemill_source_events_total") >= sum(ends.values())
    assert now.by("tidemill_table_rows_total", "table") == rows
    assert now.by("tidemill_table_files_total", "table") == {of: len(keys) for of, keys in files.items()}
    assert now.by("tidemill_table_bytes_total", "table") == \
        {of: sum(path.stat().st_size for path in keys.values()) for of, keys in files.items()}
    reasons = dict(db.sql("select reason, count(*) from rejected_events group by all").fetchall())
    assert now.by("tidemill_rejected_events_total", "reason") == reasons and len(reasons) >= 8
    kinds = {kind: now("tidemill_transform_rows_total", transform="clean", kind=kind) or 0
             for kind in ("in", "emitted", "rejected", "filtered", "absorbed")}
    assert kinds["emitted"] == rows["user_events"] and kinds["in"] == sum(kinds.values()) - kinds["in"]
    assert now("tidemill_transform_poison_rows_total", transform="evil") == POISON
    assert now("tidemill_transform_failures_total", transform="evil", kind="trap") >= POISON
    assert now("tidemill_transform_info", transform="clean") == now("tidemill_transform_live", transform="clean") == 1
    assert all(now(f"tidemill_transform_{what}", transform="sessions") > 0
               for what in ("busy_seconds_total", "memory_bytes", "state_bytes"))

    assert now.by("tidemill_partition_end_offset", "partition") \
        == now.by("tidemill_partition_committed_offset", "partition") == {str(p): end for p, end in ends.items()}
    fresh = now.by("tidemill_partition_freshness_seconds", "partition")
    assert set(fresh) == set(map(str, ends)) and all(0 < age < 10 for age in fresh.values()), fresh
    assert now("tidemill_freshness_seconds_count") >= now("tidemill_commits_total") > 1
    assert now("tidemill_freshness_seconds_bucket", le="10") <= now("tidemill_freshness_seconds_bucket", le="+Inf")
    assert now("tidemill_commit_duration_seconds_count", step="total") >= now("tidemill_commits_total")
    assert time.time() - 60 < now("tidemill_last_commit_timestamp_seconds") <= time.time()
    assert host_started(host) - 1 < now("tidemill_start_time_seconds") < time.time()
    assert now("tidemill_store_requests_total", zone="raw", outcome="ok") >= len(files[pipeline.raw])
    assert now("tidemill_catalog_requests_total", outcome="ok") > 0
    assert (now("tidemill_ready"), now("tidemill_attention"), now("tidemill_transforms_refused")) == (1, 1, 1)
    assert now("tidemill_transform_refusals_total") >= 1
    assert now("process_open_fds") > 10 and now("process_resident_memory_bytes") > 10 << 20

    assert host.stop(20) == 0
    done = json.loads(host.stdout)
    assert done["events"] == now("tidemill_events_total")
    assert Counter(done["rows"]) == Counter(now.by("tidemill_table_rows_total", "table"))
    assert Counter(done["rejects"]) == Counter(now.by("tidemill_rejected_events_total", "reason"))
    pipeline.proven()


def test_hundreds_of_reasons_are_a_hundred_series(directory, kafka, disk, name):
    """A transform may put anything into a reason. Whatever comes, no series that was there counts back or goes."""
    kafka.create(name, partitions=1)
    ours, port = directory('do = "reasons_for_every_row"'), free_port()
    pipeline, scrape = Pipeline(ours, name, name, disk, "--catalog", "local"), Scraper(port)
    host = pipeline.run("--http", f"127.0.0.1:{port}")
    host.says(re.compile("partitions assigned"), 60)
    sent = 0
    for count in (30, 300, 900, 900):  # a call may give a thousand
        assert ours.produce(name, count).wait(60) == 0
        sent += count
        until(lambda: (scrape()("tidemill_events_total") or 0) == sent, 60, f"{sent} events", every=0.1, alive=[host])
    told = disk.open().sql("select count(distinct reason), count(*) from rejected_events").fetchall()[0]
    # Counters of one answer may be of two moments, a commit apart.
    reasons = lambda: scrape().by("tidemill_rejected_events_total", "reason")
    until(lambda: sum(reasons().values()) == told[1], 10, f"all {told[1]} rejected rows are counted", alive=[host])
    reasons = reasons()
    print(f"{told[0]} reasons in the table, {len(reasons)} series, the last {reasons.get('other reasons', 0):.0f} of "
          f"{told[1]} rows together")
    assert told[0] > 200 and len(reasons) == 101
    assert reasons["other reasons"] > 0
    assert host.stop(20) == 0


def test_brokers_that_are_silent_leave_no_stale_lag(tidemill, kafka, disk, name):
    kafka.create(name)
    port = free_port()
    pipeline, scrape = Pipeline(tidemill, name, name, disk, "--catalog", "local"), Scraper(port)
    assert tidemill.produce(name, 1_000).wait(60) == 0
    host = pipeline.run("--http", f"127.0.0.1:{port}")
    host.says(re.compile("partitions assigned"), 60)
    done = lambda: (now := scrape())("tidemill_events_total") == 1_000 and now("tidemill_partition_lag_events") == 0
    until(done, 60, "all is committed", every=0.2, alive=[host])
    kafka.process.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        silent = until(lambda: (now := scrape())("tidemill_partition_lag_events") is None and now, 10, "no lag is told")
        took = time.monotonic() - began
    finally:
        kafka.process.signal(signal.SIGCONT)
    print(f"without a broker the lag was gone after {took:.1f} s")
    assert silent("tidemill_partition_committed_offset") == 1_000 and silent("tidemill_events_total") == 1_000
    until(lambda: scrape()("tidemill_partition_lag_events") == 0, 20, "the lag is told again", every=0.2, alive=[host])
    assert host.stop(20) == 0


def host_started(process):
    return time.time() - (time.monotonic() - process.started)
