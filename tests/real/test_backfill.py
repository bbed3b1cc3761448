"""History that did not come through the stream: the raw zone of another lake, files, and what the topic had before."""

import csv
import gzip
import json
import os
import random
import resource
import time
from datetime import datetime, timezone

import duckdb
import pytest

from history import HOUR, History, hours_ago
from host import cost, failing
from lake import Lake
from process import until

# The full form: TIDEMILL_TEST_EVENTS=1000000.
EVENTS = int(os.environ.get("TIDEMILL_TEST_EVENTS", 100_000))
FULL = EVENTS >= 1_000_000
POINTS = ["backfill-claimed", "backfill-made", "backfill-staged", "backfill-record", "published-one",
          "backfill-published", "backfill-told"]
SUMS = {"user_activity_per_minute": ("window_start, event_type, device", "sum(events), sum(users), sum(sessions)"),
        "user_pages_per_minute": ("window_start, page", "sum(events)"),
        "user_locations_per_minute": ("window_start, location", "sum(events)"),
        "active_users": ("window_start, period", "sum(events), sum(users), sum(sessions)")}


def events(count, first, last, seed=7):
    """Events in about the order of their times, as a topic has them: (milliseconds, key, event). Some are bad."""
    dice = random.Random(seed)
    for n in range(count):
        at = min(max(first, first + (last - first) * n // count - dice.randrange(5_000)), last - 1)
        stamp = datetime.fromtimestamp(at / 1000, timezone.utc).isoformat(timespec="milliseconds")
        user = dice.randrange(200)
        yield at, f"user_{user}", {
            "user_id": f"user_{user}" if n % 101 else None, "event_type": dice.choice(["click", "view", "Buy "]),
            "timestamp": stamp if n % 97 else "yesterday", "page": f"/page/{dice.randrange(90)}",
            "session_id": f"s{user}-{at // 1_200_000}", "device": dice.choice(["mobile", "desktop", "toaster"]),
            "location": dice.choice(["DE", 'a "quoted", one', None])}


def produce(kafka, topic, what):
    producer = kafka.producer()
    for n, (at, key, event) in enumerate(what):
        while True:
            try:
                producer.produce(topic, json.dumps(event), key=key, timestamp=at, headers={"n": str(n % 3)})
                break
            except BufferError:
                producer.poll(0.1)
        if n % 500 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0


class Filled(History):
    """A lake that history is brought into."""

    def backfill(self, *arguments, seconds=300, code=0):
        process = self("backfill", *arguments, "--json", "--claim-for", "1s", seconds=seconds)
        assert process.code == code, (process.code, process.stderr[-3000:])
        print(cost(process), process.stdout[:1500])
        return json.loads(process.stdout) if code == 0 else process

    def kafka(self, *arguments, **how):
        return self.backfill("kafka", "--brokers", self.tidemill.kafka.brokers, *arguments, **how)

    def same(self, other, but=()):
        """{table: (rows of the other, rows only here, rows only there)}, but for some columns."""
        found, db = {}, duckdb.connect()
        db.execute("set TimeZone = 'UTC'; set threads = 2")
        for table in (other.raw, "user_events", "rejected_events", "user_sessions", *SUMS):
            names = {"theirs": (other, table), "mine": (self, self.raw if table == other.raw else table)}
            if table not in other.lake.files():
                assert table not in self.lake.files(), table
                continue
            for side, (job, name) in names.items():
                paths = [str(path) for path in job.lake.files()[name].values()]
                source = f"read_parquet({paths!r}, hive_partitioning = false)"
                if table in SUMS:
                    keys, sums = SUMS[table]
                    query = f"select {keys}, {sums} from {source} group by all"
                else:
                    # The times of events in tables of transforms are what the rows say.
                    out = but if table in (other.raw, "rejected_events") else set(but) - {"timestamp"}
                    there = [name for name, *_ in db.sql(f"describe from {source}").fetchall() if name not in out]
                    query = f"select {', '.join(chr(34) + name + chr(34) for name in there)} from {source}"
                db.execute(f"create or replace table {side} as {query}")
            count = lambda query: db.sql(f"select count(*) from ({query})").fetchall()[0][0]
            found["raw" if table == other.raw else table] = (
                count("from theirs"), count("from mine except all from theirs"),
                count("from theirs except all from mine"))
        return found


@pytest.fixture
def fill(tidemill, buckets, disk, name, tmp_path):
    """Makes a lake whose topic has nothing for it: it begins where the topic ends."""
    made = []

    def make(place, topic, *flags, transforms=None):
        made.append(name)
        group = f"{name}-{len(made)}"
        if place == "s3":
            zones = buckets(group)
            flags = "--catalog", "glue", "--database", group.replace("-", "_"), *flags
        else:
            zones = Lake.within(tmp_path / f"lake-{len(made)}")
            flags = "--catalog", "local", *flags
        ours = tidemill
        if transforms:
            ours = tidemill.with_transforms(tmp_path / f"transforms-{len(made)}")
            for path in ours.transforms.glob("*.wasm"):
                if path.stem not in transforms:
                    path.unlink()
        job = Filled(ours, topic, group, zones, *flags)
        job.until_end("--start", "latest")
        return job
    return make


@pytest.fixture(scope="module")
def old(tidemill, kafka, tmp_path_factory):
    """A lake that came through a stream, with three partitions and hours that are over."""
    kafka.create("old")
    produce(kafka, "old", events(EVENTS, hours_ago(6), hours_ago(0)))
    job = Filled(tidemill, "old", "old", Lake.within(tmp_path_factory.mktemp("old")), "--catalog", "local")
    host = job.run("--until-end")
    assert host.wait(600) == 0, host.stderr[-2000:]
    job.cost = host.rusage.ru_utime + host.rusage.ru_stime
    print(cost(host))
    return job


def test_history_out_of_a_raw_zone_is_what_the_stream_made_of_it(old, fill):
    """The differential proof: the same events once through the stream and once through a backfill."""
    job = fill("disk", "old")
    files = str(old.lake.raw.path(f"{old.raw}/date=*/**"))
    dry = job.backfill("files", files, "--dry-run")
    assert dry["rows"] == EVENTS and not dry["records"] and not job.lake.count(job.raw)
    assert "claim" not in job.kinds()
    done = job.backfill("files", files, "--portion", EVENTS // 3)
    assert done["rows"] == EVENTS and len(done["records"]) > 2 and not done["untold"]
    assert {table: rows for table, rows in done["tables"].items() if table not in SUMS} == \
           {table: rows for table, rows in dry["tables"].items() if table not in SUMS}
    same = job.same(old)
    print(same)
    # Sessions that the stream's hosts have open are closed at the end of a source.
    (sessions, more, fewer), raw = same.pop("user_sessions"), same["raw"]
    assert all(differ == (0, 0) for _, *d in same.values() for differ in [tuple(d)]), same
    assert raw[0] == EVENTS and len(same) == 7 and fewer == 0 and sessions > 100, sessions
    last = lambda job: job.lake.open().sql("select max(session_end)::varchar from user_sessions").fetchall()[0][0]
    assert more > 0 and last(old) <= last(job)
    job.proven()
    # Again it adds nothing; nor does part of it.
    again = job.backfill("files", files)
    assert (again["rows"], again["records"], again["known"]) == (0, [], again["sources"])
    assert job.same(old)["raw"] == raw
    # A core is not slower than in the stream.
    print(f"{old.cost * 1e6 / EVENTS:.2f} CPU-s a million through the stream, "
          f"{done['cpu_seconds'] * 1e6 / done['rows']:.2f} backfilled")
    # The stream goes on, and the lake that was filled takes nothing twice that comes through it.
    mine = old.lake.raw.path(f"{old.raw}/date=*/**")
    beside = fill("disk", "old")
    assert beside.backfill("files", str(mine))["skipped"] == 0


def test_the_stream_keeps_what_is_its_own(old, tidemill, tmp_path):
    """A lake that has streamed all of it takes nothing out of the raw zone of another."""
    job = Filled(tidemill, "old", "own", Lake.within(tmp_path), "--catalog", "local")
    host = job.run("--until-end")
    assert host.wait(600) == 0, host.stderr[-2000:]
    done = job.backfill("files", str(old.lake.raw.path(f"{old.raw}/date=*/**")))
    assert (done["rows"], done["skipped"]) == (0, EVENTS)
    job.exact(tidemill.kafka.ends("old"))
    job.proven()


def write(folder, what):
    """The same events as JSON lines, CSV and Parquet."""
    rows = [event for _, _, event in what]
    with gzip.open(folder / "events.json.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    with open(folder / "events.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    duckdb.sql(f"""copy (select * from read_json('{folder}/events.json.gz', format = 'newline_delimited',
                         columns = {{user_id: 'varchar', event_type: 'varchar', timestamp: 'varchar', page: 'varchar',
                                     session_id: 'varchar', device: 'varchar', location: 'varchar'}}))
                   to '{folder}/events.parquet' (format parquet, compression zstd, row_group_size 2048)""")
    return rows


def test_the_format_of_a_file_makes_no_difference(fill, kafka, tmp_path, name):
    kafka.create(name)
    rows = write(tmp_path, list(events(6_000, hours_ago(30), hours_ago(27))))
    lakes = []
    for file, portion in (("events.json.gz", 2_500), ("events.csv", 1_000), ("events.parquet", 6_000)):
        job = fill("disk", name)
        done = job.backfill("files", str(tmp_path / file), "--portion", portion)
        assert (done["rows"], done["undecoded"]) == (len(rows), sum(r["timestamp"] == "yesterday" for r in rows))
        assert done["reasons"]["it has no time that can be read"] == done["undecoded"]
        job.proven()
        lakes.append(job)
    one, *others = lakes
    assert len(one.lake.open().sql(f"select distinct topic, partition from {one.raw}").fetchall()) == 1
    for other in others:
        same = one.same(other, but=("topic", "value", "timestamp"))
        print(same)
        assert same.pop("raw")[0] == len(rows)
        # Rows without a time are filed by the time at which they came.
        assert all((more, fewer) == (0, 0) for _, more, fewer in same.values()), same
    # What the other two are is not known to the first one: they are other files, with other rows.
    assert one.backfill("files", str(tmp_path / "events.csv"), "--dry-run")["rows"] == len(rows)
    # Hours that were brought are merged like others, and history comes into hours that were merged; who reads by views
    # sees all of it.
    assert one.compact()["hours"]
    one.proven()
    more = list(events(500, hours_ago(31), hours_ago(28), seed=3))
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(event) + "\n" for _, _, event in more))
    assert one.backfill("files", str(tmp_path / "more.jsonl"))["rows"] == 500
    one.proven()
    seen = one.read(one.views()).sql(f'select count(*), count(distinct (partition, "offset")) from {one.raw}').fetchall()
    assert seen == [(len(rows) + 500, len(rows) + 500)]


def test_files_lie_in_a_bucket(fill, kafka, buckets, tmp_path, name):
    kafka.create(name)
    archive = buckets(f"{name}-archive").raw
    rows = write(tmp_path, list(events(1_500, hours_ago(30), hours_ago(27))))
    for part, file in enumerate(("events.json.gz", "events.csv", "events.parquet")):
        archive.s3.client.upload_file(str(tmp_path / file), archive.name, f"old/{part}/{file}")
    archive.s3.client.put_object(Bucket=archive.name, Key="old/readme.md", Body=b"not for anybody")
    job = fill("s3", name)
    dry = job.backfill("files", f"{archive.url}/old/*/events.*", "--dry-run")
    assert (dry["sources"], dry["rows"]) == (3, 3 * len(rows))
    done = job.backfill("files", f"{archive.url}/old/*/events.*.gz", f"{archive.url}/old/1/")
    assert (done["sources"], done["rows"]) == (2, 2 * len(rows))
    again = job.backfill("files", f"{archive.url}/old/")
    assert (again["known"], again["rows"]) == (2, len(rows))
    job.proven()


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_a_backfill_that_is_killed_is_whole_or_nothing(fill, kafka, place, tmp_path, name):
    kafka.create(name)
    job = fill(place, name)
    points = POINTS if FULL or place == "disk" else ["backfill-made", "backfill-record", "published-one:2"]
    sent = 0
    for n, point in enumerate(points):
        folder = tmp_path / f"files-{n}"
        folder.mkdir()
        files = [folder / f"{part}.json" for part in range(2)]
        for part, file in enumerate(files):
            what = list(events(400, hours_ago(20 + n), hours_ago(19 + n), seed=10 * n + part))
            file.write_text("".join(json.dumps(event) + "\n" for _, _, event in what))
            sent += len(what)
        job.killed(point, "backfill", "files", str(folder), "--portion", "300", "--claim-for", "1s")
        done = job.backfill("files", str(folder), "--portion", "300")
        assert done["known"] < 2 and not done["untold"]
        assert job.lake.count(job.raw) == sent, point
        assert job.backfill("files", str(folder))["rows"] == 0
    checked = job.proven()
    assert checked.events == sent
    numbers = job.lake.open().sql(f'select partition, count(*), count(distinct "offset"), min("offset"), max("offset"), '
                                  f"count(distinct topic) from {job.raw} group by 1").fetchall()
    assert len(numbers) == 2 * len(points) and all(n[0] < 0 and n[1:] == (400, 400, 0, 399, 1) for n in numbers), numbers
    # A chain that was killed goes on from what it remembered: the sessions are those of a run that was not.
    whole = fill("disk", name)
    for n in range(len(points)):
        whole.backfill("files", str(tmp_path / f"files-{n}"))
    # Rows without a time have that at which they came.
    same = job.same(whole, but=("partition", "kafka_partition", "timestamp"))
    print(same)
    assert all((more, fewer) == (0, 0) for _, more, fewer in same.values()), same
    assert job("gc", "--older-than", "0s", "--apply").code == 0
    assert [zone.unfinished() for zone in job.lake.zones] == [[], []]
    job.proven()


@pytest.mark.parametrize("only", [("clean", "activity_per_minute", "overview"), None], ids=["sums", "sessions"])
def test_two_at_once_share_the_work(fill, kafka, tmp_path, name, only):
    """Where transforms remember sessions one at a time does it, and the other waits."""
    kafka.create(name)
    job = fill("disk", name, transforms=only)
    for part in range(6):
        what = events(4_000, hours_ago(20), hours_ago(18), seed=part)
        (tmp_path / f"{part}.jsonl").write_text("".join(json.dumps(event) + "\n" for _, _, event in what))
    begin = lambda: job.tidemill("backfill", "files", str(tmp_path / "*.jsonl"), "--portion", "1500", "--json",
                                 "--topic", job.topic, "--group", job.group, *job.lake.arguments(), *job.flags)
    both = [begin(), begin()]
    assert [process.wait(120) for process in both] == [0, 0], [p.stderr[-1000:] for p in both]
    # Nobody waits for a claim on what is done.
    assert abs(both[0].seconds - both[1].seconds) < 40, [p.seconds for p in both]
    said = [json.loads(process.stdout) for process in both]
    print([(s["rows"], len(s["records"]), s["again"]) for s in said])
    assert sum(s["rows"] for s in said) == 24_000 and (only is None or all(s["rows"] > 2_000 for s in said))
    assert job.lake.count(job.raw) == 24_000
    minutes = job.lake.open().sql("select sum(events) from user_activity_per_minute").fetchall()[0][0]
    assert minutes == job.lake.count("user_events")
    job.proven()


def test_what_the_topic_had_before_the_lake_began(fill, kafka, name):
    """The host runs on meanwhile; then all of the topic is there once, and the stream's part was not touched."""
    kafka.create(name)
    produce(kafka, name, events(9_000, hours_ago(10), hours_ago(8)))
    job = fill("disk", name)
    assert job.lake.count(job.raw) == 0
    host = job.run(interval="300ms")
    produce(kafka, name, events(2_000, hours_ago(8), hours_ago(7), seed=8))
    assert job.kafka("--dry-run")["rows"] == 9_000
    done = job.kafka("--from", "earliest", "--portion", "2000")
    assert (done["rows"], done["sources"], done["skipped"]) == (9_000, 3, 0) and len(done["records"]) > 2
    until(lambda: job.lake.count(job.raw) == 11_000, 30, "the stream's events are there", alive=[host])
    host.stop(30)
    job.exact(kafka.ends(name))
    assert job.kafka()["rows"] == 0
    checked = job.proven()
    assert checked.events == 11_000
    # The same events out of files are refused.
    other = fill("disk", name)
    copied = other.backfill("files", str(job.lake.raw.path(f"{job.raw}/date=*/**")))
    assert copied["rows"] == 11_000
    refused = other.kafka(code=1)
    assert "were backfilled out of files of a raw zone" in refused.stderr, refused.stderr
    other.proven()


def test_who_has_nothing_to_go_through_is_told(tidemill, disk, name, tmp_path):
    job = Filled(tidemill, name, name, disk, "--catalog", "local")
    (tmp_path / "a.json").write_text("{}\n")
    for arguments, code, what in [(("files", str(tmp_path / "a.json")), 1, "let a host begin"),
                                  (("files", str(tmp_path / "b*.json")), 2, "names no file"),
                                  (("kafka", "--from", "soon"), 2, "expected earliest")]:
        process = job("backfill", *arguments)
        assert process.code == code and what in process.stderr, (process.code, process.stderr)
