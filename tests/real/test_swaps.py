"""Transforms that are dropped into running hosts: every row is made by the version that its commit names.

TIDEMILL_TEST_RATE is how many events a second are produced meanwhile: 50,000.
"""

import hashlib
import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from host import BINARY
from pipeline import Pipeline
from process import until

RATE = int(os.environ.get("TIDEMILL_TEST_RATE", 50_000))
GUESTS = Path(__file__).resolve().parent.parent / "guests"
LIVE = re.compile(r"runs new transforms.*")


@pytest.fixture(scope="session")
def marked(tmp_path_factory):
    """The guest that says which version of it made a row, in any version."""
    out = tmp_path_factory.mktemp("guests")
    env = {k: v for k, v in os.environ.items() if not k.startswith("TIDEMILL_")}
    subprocess.run([BINARY, "build", GUESTS, "--out", out], check=True, env=env)
    wasm = (out / "marked.wasm").read_bytes()
    assert wasm.count(b"mark:0000") >= 1
    return lambda mark: wasm.replace(b"mark:0000", f"mark:{mark}".encode())


class Directory:
    """A directory of transforms, and when each of its sets went live in a host."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()

    def put(self, wasm, name="clean.wasm"):
        """As `cp` does it: the file grows."""
        with open(self.folder / name, "wb") as file:
            file.write(wasm)
        return time.monotonic()


def digest(wasm):
    return hashlib.sha256(wasm).hexdigest()


def live(log, wasm, partitions=3):
    """Whether the last record of each partition was made by this component."""
    last = {a["partition"]: [w["digest"] for w in a.get("transforms", [])]
            for r in log() for a in r.get("partitions", []) if a["to"] > a["from"]}
    return len(last) == partitions and all(digest(wasm) in digests for digests in last.values())


def records(pipeline):
    """The records as they lie there; read without this project's code."""
    return [json.loads(path.read_text()) for _, path in sorted(pipeline.slots().items())]


def test_every_row_is_made_by_the_version_that_its_commit_names(tidemill, kafka, buckets, name, marked, tmp_path):
    kafka.create(name)
    directory = Directory(tmp_path / "transforms")
    v1, v2, trap, v3 = (marked(mark) for mark in ("0001", "0002", "trap", "0003"))
    directory.put(v1)
    pipeline = Pipeline(tidemill, name, name, buckets(name), "--catalog", "glue", "--database", name.replace("-", "_"))
    tidemill.transforms, shipped = directory.folder, tidemill.transforms
    try:
        host = pipeline.run("-X", "statistics.interval.ms=0")
    finally:
        tidemill.transforms = shipped
    produce = tidemill.produce(name, 0, rate=RATE)
    alive, log = [host, produce], lambda: records(pipeline)
    until(lambda: live(log, v1), 60, "v1 is live", alive=alive)

    def drop(wasm, what, seconds=30):
        began = directory.put(wasm)
        until(lambda: live(log, wasm), seconds, f"{what} is live", every=0.02, alive=alive)
        return time.monotonic() - began

    took = {"v2": drop(v2, "v2")}
    # Broken in two ways: cut short, so that it does not load; and one that loads and traps at every event.
    directory.put(v3[:50_000])
    host.says(re.compile(r"the last good transforms go on.*clean\.wasm"), 30)
    directory.put(trap)
    host.says(re.compile(r"stands still.*fails on more than 100 rows"), 60)
    host.says(re.compile(r"goes on with the set before"), 30)
    until(lambda: live(log, v2), 60, "v2 goes on", alive=alive)
    took["v3"] = drop(v3, "v3", 60)
    time.sleep(2)
    assert produce.stop(60) == 0
    ends = kafka.ends(name)
    raw = pipeline.raw
    until(lambda: pipeline.lake.count(raw) >= sum(ends.values()), 90, "all events are in the raw zone", every=0.3,
          alive=[host])
    assert host.stop(20) == 0

    db = pipeline.lake.open()
    db.execute('create table made(p int, "from" bigint, "to" bigint, mark varchar)')
    marks = {digest(w): f"mark:{m}" for w, m in ((v1, "0001"), (v2, "0002"), (trap, "trap"), (v3, "0003"))}
    ranges = [(a["partition"], a["from"], a["to"], marks[w["digest"]])
              for r in log() for a in r.get("partitions", []) for w in a.get("transforms", [])]
    db.executemany("insert into made values (?, ?, ?, ?)", ranges)
    one = lambda query: db.sql(query).fetchall()[0][0] or 0
    total = sum(ends.values())
    wrong = {
        "made by another version": one('''select count(*) from user_events e join made m on e.kafka_partition = m.p
            and e.kafka_offset >= m."from" and e.kafka_offset < m."to" where e.made_by <> m.mark'''),
        "made by none": one('''select count(*) from user_events e anti join made m on e.kafka_partition = m.p
            and e.kafka_offset >= m."from" and e.kafka_offset < m."to" and e.made_by = m.mark'''),
        "raw twice": one(f'select count(*) - count(distinct (partition, "offset")) from {raw}'),
        "lost": total - one(f"select count(*) from {raw}"),
        "neither good nor rejected": total - one("select count(*) from user_events")
            - one("select count(*) from rejected_events"),
        "good twice": one("select count(*) - count(distinct (kafka_partition, kafka_offset)) from user_events"),
        "poison": one("select count(*) from rejected_events where reason like 'poison%'"),
    }
    rows = dict(db.sql("select made_by, count(*) from user_events group by all order by all").fetchall())
    stalls = [float(m) * {"ms": 1, "µs": 0.001, "s": 1000}[u]
              for m, u in re.findall(r"stalled=([\d.]+)(ms|µs|s)", host.stderr)]
    print(f"{total} events at {RATE}/s, rows by version: {rows}\n"
          f"from drop to live in all partitions: { {k: f'{v:.2f} s' for k, v in took.items()} } at a commit interval of 1 s\n"
          f"lanes stalled for {max(stalls):.1f} ms at most, {len(stalls)} swaps of a lane; wrong: {wrong}")
    assert not any(wrong.values()), wrong
    assert {"mark:0001", "mark:0002", "mark:0003"} == set(rows), rows
    assert {m for *_, m in ranges} == {"mark:0001", "mark:0002", "mark:0003"}
    assert pipeline.proven().events == total


def test_hosts_with_different_directories_follow_the_log(tidemill, kafka, disk, name, marked, tmp_path):
    kafka.create(name)
    one, other = Directory(tmp_path / "one"), Directory(tmp_path / "other")
    v1, v2 = marked("0001"), marked("0002")
    one.put(v1), other.put(v1)
    pipeline = Pipeline(tidemill, name, name, disk, "--catalog", "local")
    hosts, shipped = [], tidemill.transforms
    for directory in (one, other):
        tidemill.transforms = directory.folder
        hosts.append(pipeline.run("-X", f"client.id=host{len(hosts)}"))
    tidemill.transforms = shipped
    produce = tidemill.produce(name, 0, rate=1000)
    shared = lambda: sorted(len(p) for _, p in kafka.clients(name).values()) == [1, 2]
    until(shared, 60, "both hosts have partitions", every=0.3, alive=hosts)
    one.put(v2)
    until(lambda: live(lambda: records(pipeline), v2), 60, "v2 is live in both", alive=hosts + [produce])
    assert "following the commit log" in hosts[1].stderr
    # A host that comes with its old directory does not bring v1 back: it is what it had before.
    assert hosts[1].stop(20) == 0
    tidemill.transforms = other.folder
    again = pipeline.run()
    tidemill.transforms = shipped
    again.says(re.compile(r"partitions assigned starts=\{\d"), 60)
    sets = lambda: [r for r in records(pipeline) if r["kind"] == "transforms"]
    assert len(sets()) == 2, sets()
    assert produce.stop(30) == 0
    assert [hosts[0].stop(20), again.stop(20)] == [0, 0]
    assert pipeline.proven().findings == []
