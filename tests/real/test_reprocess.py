"""Hours are made anew from the raw zone by a mended transform, compared, put back, killed, and beside a stream.

TIDEMILL_TEST_RATE is how many events a second are produced into the present beside the commands: 4,000. The full form
is 50,000.
"""

import json
import os
import signal
import threading
import time

import pytest

from history import History, hours_ago, pipelines, produce, view_numbers
from lake import Lake
from process import until

RATE = int(os.environ.get("TIDEMILL_TEST_RATE", 4_000))
HOURS = 3
# A page is too long for the first version of `clean`, and it does not know toasters.
MENDED = 'config = { devices = ["mobile", "desktop", "tablet", "toaster"], max_length = 10000 }\n'
LONG = 50
POINTS = ["reprocess-made", "flip-staged", "flip-record", "published-one", "flip-published", "reprocess-told"]


@pytest.fixture
def job(tidemill, kafka, buckets, disk, name, tmp_path):
    """Makes a pipeline with a topic and a directory of transforms of its own."""
    return pipelines(tidemill.with_transforms(tmp_path / "transforms"), kafka, buckets, disk, name)


@pytest.fixture
def another_disk(tmp_path):
    (tmp_path / "another").mkdir()
    return Lake.within(tmp_path / "another")


def spoilt(job, kafka, count=4_000):
    """A lake whose past was made by a transform with a fault, which is mended since; in the order of time."""
    mended = hours_ago(0) - 600_000
    produce(kafka, job.topic, count, hours_ago(HOURS), mended, seed=1, ordered=True, long=LONG)
    job.until_end()
    (job.tidemill.transforms / "clean.toml").write_text(MENDED)
    # A host proposes what is in its directory, and what comes is made by that.
    produce(kafka, job.topic, 200, mended, hours_ago(0), seed=2, ordered=True, long=LONG)
    job.until_end()


def since(hours=HOURS):
    return time.strftime("%Y-%m-%dT%H", time.gmtime(hours_ago(hours) / 1000))


def range_of(first=HOURS, last=0):
    return "--since", since(first), "--until", since(last)


def as_it_should_be(job, lake):
    """What a lake says whose events were all made by the mended transform."""
    other = History(job.tidemill, job.topic, f"{job.group}-anew", lake, "--catalog", "local")
    other.until_end()
    other.proven()
    return compared(other)


def compared(job):
    """Content without what tells versions apart, and without what depends on how late events came: to the stream some
    may be late, in the order of their time none is."""
    content = job.content()
    rejected = [row[:6] + row[7:] for row in content["rejected_events"] if row[5] in (None, "clean")]
    return {"raw": content[job.raw], "user_events": content["user_events"], "rejected": sorted(rejected, key=str)}


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_hours_are_made_anew_and_put_back(job, kafka, place, another_disk):
    job = job(place)
    spoilt(job, kafka)
    before, kinds = job.content(), job.kinds()
    toasters, long = job.numbers("count(*) filter (value::varchar like '%toaster%' and value::varchar not like "
                                 "'%yesterday%'), count(*) filter (value::varchar like '%xxxxx%')")
    dry = job.json("reprocess", *range_of(), "--dry-run")
    assert dry["events"] == len(before[job.raw])
    diff = job.json("reprocess", *range_of(), "--diff", "--samples", 2)
    print(job("reprocess", *range_of(), "--diff", "--samples", 2).stdout)
    assert job.content() == before and job.kinds() == kinds, "nothing was written"
    changes = {change["table"]: change for change in diff["changes"]}
    events = changes["user_events"]
    # What came since it was mended is right already.
    assert 0 < events["changed"] <= toasters and events["columns"] == {"device": events["changed"]}, events
    assert 0 < events["added"] <= long and not events["removed"] and events["same"] > events["changed"]
    # And events that were late to the stream: in the order of their time none is.
    assert changes["rejected_events"]["removed"] >= events["added"]
    sample = next(s for s in events["samples"] if s["was"] and s["is"])
    assert (sample["was"]["device"], sample["is"]["device"]) == ("other", "toaster") and sample["is"]["kafka_offset"]

    done = job.json("reprocess", *range_of())
    print(job("log", "--last", 1).stdout)
    assert job.kinds()[len(kinds):] == ["reprocess"] and not done["untold"] and done["events"] == len(before[job.raw])
    job.proven()
    after = compared(job)
    assert after == as_it_should_be(job, another_disk)
    assert job.minutes_off() == 0
    rows = {table["table"]: table["rows"] for table in done["tables"]}
    assert rows["user_events"]["after"] - rows["user_events"]["before"] == events["added"]
    # Again: the same once more.
    job.json("reprocess", *range_of())
    assert compared(job) == after
    assert not any(change["added"] or change["removed"] or change["changed"]
                   for change in job.json("reprocess", *range_of(), "--diff")["changes"] if "sessions" not in change["table"])
    # A part of the hours of a part of the transforms.
    one = job.json("reprocess", *range_of(2, 1), "--transform", "sessions")
    assert {table["table"] for table in one["tables"]} <= {"user_sessions"}
    assert compared(job) == after
    job.proven()

    # Back, with what came since; the last three records one after the other.
    produce(kafka, job.topic, 300, hours_ago(HOURS), hours_ago(0), seed=5, ordered=True)
    job.until_end()
    late = [row for row in job.content()[job.raw] if row not in before[job.raw]]
    assert len(late) == 300
    assert job("reprocess", "--undo", job.log("--last", 1)[0]["seq"]).code == 2
    undone = job.json("reprocess", "--undo")
    assert undone["record"] and job.kinds()[-1] == "restore"
    first = next(record["seq"] for record in job.log() if record["kind"] == "reprocess")
    gone = job("reprocess", "--undo", first)
    assert gone.code == 1 and "was rewritten since" in gone.stderr, gone.stderr
    job.proven()
    print(job("reprocess", "--undo", "--dry-run").stdout)


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_what_was_there_before_is_true_again(job, kafka, place):
    job = job(place)
    spoilt(job, kafka, count=2_000)
    before = job.content()
    job.json("reprocess", *range_of())
    assert job.content() != before
    produce(kafka, job.topic, 200, hours_ago(HOURS), hours_ago(0), seed=5, ordered=True)
    job.until_end()
    job.killed("flip-record", "reprocess", "--undo")
    job.until_end()
    assert job.kinds()[-1] == "restore"
    after = job.content()
    new = [row for row in after["user_events"] if row not in before["user_events"]]
    assert all(row in after["user_events"] for row in before["user_events"]) and 150 < len(new) <= 200
    job.proven()
    # An undo can be undone while nobody has swept.
    job.json("reprocess", "--undo", job.log("--last", 1)[0]["seq"])
    again = job.content()
    assert again["user_events"] != after["user_events"] and len(again["user_events"]) > len(after["user_events"])
    job.proven()
    swept = job.compact("--keep", "0s")["swept"]
    assert swept["files"] > 0
    gone = job("reprocess", "--undo")
    assert gone.code == 1 and "former files are still there" in gone.stderr, gone.stderr
    job.proven()


@pytest.mark.parametrize("point, place", [
    *((point, "disk") for point in POINTS), ("flip-record", "s3"), ("published-one", "s3")])
def test_a_reprocessing_that_is_killed_is_whole_or_nothing(job, kafka, place, point):
    job = job(place)
    spoilt(job, kafka, count=800)
    before, kinds = job.content(), job.kinds()
    if point == "published-one":
        last = max((r for r in job.log() if r["kind"] == "epoch"), key=lambda r: r["seq"])
        point = f"published-one:{len(last['files']) + 1}"
    job.killed(point, "reprocess", *range_of())
    told = job.kinds()[len(kinds):]
    assert told == ([] if point in ("reprocess-made", "flip-staged") else ["reprocess"]), told
    if not told:
        assert job.content() == before
        assert job("gc", "--older-than", "0s", "--apply").code == 0
        assert [zone.unfinished() for zone in job.lake.zones] == [[], []]
        job.proven()
        job.json("reprocess", *range_of())
    # A host finishes what is left.
    job.until_end()
    mended = job.content()
    assert mended != before and not any("too long" in str(row) for row in mended["rejected_events"])
    job.proven()
    assert [zone.unfinished() for zone in job.lake.zones] == [[], []]


def test_a_new_transform_gets_its_past(job, kafka):
    job = job("disk")
    rest = {path: path.read_bytes() for path in job.tidemill.transforms.glob("*.wasm") if path.stem != "clean"}
    [path.unlink() for path in rest]
    produce(kafka, job.topic, 3_000, hours_ago(HOURS), hours_ago(0), seed=1, ordered=True)
    job.until_end()
    events = job.content_of("user_events")
    [path.write_bytes(wasm) for path, wasm in rest.items()]
    job.until_end()
    # Nothing came since: the stream of the new ones has nothing, and hands nothing out.
    done = job.json("reprocess", *range_of(), "--transform", "activity_per_minute", "--transform", "sessions")
    assert {table["table"] for table in done["tables"]} == {"user_activity_per_minute", "user_sessions"}, done
    assert job.minutes_off() == 0 and job.content_of("user_events") == events
    assert sum(float(row[0]) for row in job.content_of("user_sessions", "events")) == len(events)
    job.proven()


def test_the_past_of_a_new_transform_comes_in_portions_that_are_shared(job, kafka):
    job = job("disk")
    wasm = {path: path.read_bytes() for path in job.tidemill.transforms.glob("*.wasm") if path.stem != "clean"}
    [path.unlink() for path in wasm]
    produce(kafka, job.topic, 3_000, hours_ago(8), hours_ago(0), seed=1, ordered=True)
    job.until_end()
    [path.write_bytes(code) for path, code in wasm.items()]
    job.until_end()
    how = ("--transform", "activity_per_minute", "--portion", 1, "--until", since(0), "--claim-for", "1s")
    dry = job.json("backfill", "raw", *how, "--dry-run")
    assert dry["tables"] == [] and dry["events"] >= 3_000 and "claim" not in job.kinds()
    job.killed("fill-claimed", "backfill", "raw", *how)
    job.killed("flip-record:2", "backfill", "raw", *how)
    made = job.kinds().count("reprocess")
    assert made == 2
    # Two at once share what is left.
    run = lambda: job.tidemill("backfill", "raw", *map(str, how), "--json", "--topic", job.topic, "--group", job.group,
                               *job.lake.arguments(), *job.flags)
    both = [run(), run()]
    assert [process.wait(120) for process in both] == [0, 0], [process.stderr[-1000:] for process in both]
    done = [json.loads(process.stdout) for process in both]
    print([(len(one["records"]), one["known"]) for one in done])
    hours = len([record for record in job.log() if record["kind"] == "reprocess"])
    assert sum(len(one["records"]) for one in done) + made == hours and not done[0]["missed"]
    assert job.minutes_off() == 0
    job.proven()
    again = job.json("backfill", "raw", *how)
    assert not again["records"] and again["known"] >= 8
    # What is put back lacks its past again.
    last = max(record["seq"] for record in job.log() if record["kind"] == "reprocess" and record.get("flips"))
    job.json("reprocess", "--undo", last)
    assert job.minutes_off() > 0
    assert len(job.json("backfill", "raw", *how)["records"]) == 1 and job.minutes_off() == 0
    job.proven()


def test_hours_whose_events_have_gone_are_not_made_anew(job, kafka):
    job = job("disk", "--retention-days", "1")
    produce(kafka, job.topic, 300, hours_ago(30), hours_ago(28), seed=1)
    produce(kafka, job.topic, 300, hours_ago(3), hours_ago(0), seed=2)
    job.until_end()
    job.json("retain", "--table", job.raw, "--apply")
    kept = job.content()["user_events"]
    refused = job("reprocess", "--since", since(30), "--until", since(28))
    assert refused.code == 1 and "have expired" in refused.stderr and job.content()["user_events"] == kept
    for wrong in (["--since", "2h", "--until", "3h"], ["--since", "2h", "--transform", "cleen"], ["--until", "2h"],
                  ["--since", "yesterday"]):
        assert job("reprocess", *wrong).code == 2, wrong


def test_what_comes_meanwhile_goes_along(job, kafka):
    job = job("disk")
    spoilt(job, kafka, count=20_000)
    made = job.held("reprocess-made", "reprocess", *range_of(), "--json")
    produce(kafka, job.topic, 300, hours_ago(HOURS), hours_ago(0), seed=5, ordered=True)
    job.until_end()
    made.signal(signal.SIGCONT)
    assert made.wait(60) == 0, made.stderr[-1000:]
    done = json.loads(made.stdout)
    assert done["carried"] > 300 and len(done["records"]) == 1, done
    job.exact_by_views(kafka.ends(job.topic))
    job.proven()


def test_every_query_sees_every_event_once_while_hours_are_made_anew(job, kafka):
    """A stream into the present, another of late events into the hours, reprocessing and compaction in turns with
    sweeps, and queries in a loop through the views."""
    job = job("disk")
    spoilt(job, kafka, count=3_000)
    job.write_views()
    host, stop, sent = job.run(interval="500ms"), threading.Event(), []
    present = job.tidemill.produce(job.topic, 0, rate=RATE)
    stream = threading.Thread(target=lambda: sent.append(produce(
        kafka, job.topic, 10**9, hours_ago(HOURS), hours_ago(0), seed=11, done=stop.is_set, rate=500)))
    stream.start()
    done, queries, seen, failure = {"reprocess": 0, "compact": 0}, 0, 0, []

    def streamed(after):
        return sum(seq > after and json.loads(path.read_text())["kind"] == "epoch"
                   for seq, path in job.slots().items()) >= 4

    def rewriting():
        try:
            while not stop.is_set():
                # Each flip makes lanes that write into its hours go back once.
                after = max(job.slots())
                until(lambda: stop.is_set() or streamed(after), 60, "the stream goes on", every=0.1, alive=[host])
                made = job.json("reprocess", *range_of(HOURS, 0), "--late", "0s")
                done["reprocess"] += len(made["records"])
                done["compact"] += sum(1 for h in job.compact("--keep", "8s")["hours"] if h["record"])
        except BaseException as error:  # noqa: BLE001  it is raised below
            failure.append(error)

    tables = job.raw, "user_events", "rejected_events"
    rewriter = threading.Thread(target=rewriting)
    rewriter.start()
    began = time.monotonic()
    try:
        while not failure and (time.monotonic() - began < 15 or not all(done.values())):
            assert time.monotonic() - began < 120, done
            texts = {table: text for table, text in job.views().items() if table in tables}
            after = {view_numbers(text) for text in texts.values()}
            if len(after) > 1:
                continue  # they are being written
            (known,) = after
            least = job.least(known)
            db = job.read(texts)
            db.execute("create table least(p int, least bigint)")
            db.executemany("insert into least values (?, ?)", list(least.items()))
            # Raw first: what is in the tables may be newer.
            db.execute(f"""create table raw as select partition as p, "offset" as o from {job.raw} join least
                           on partition = p where "offset" < least.least""")
            (there,) = db.sql("select count(*) from raw").fetchall()[0]
            twice, missing = db.sql("""
                with e as (select kafka_partition as p, kafka_offset as o from user_events),
                     r as (select partition as p, "offset" as o from rejected_events
                           where coalesce(transform, 'clean') = 'clean')
                select (select count(*) - count(distinct (p, o)) from (from e union all from r)),
                       (select count(*) from raw anti join (from e union all from r) using (p, o))""").fetchall()[0]
            assert not twice, f"{twice} events twice, views after {known}"
            assert not missing, f"{missing} of {there} events are missing, views after {known}"
            assert there == sum(least.values()), (there, least)
            queries, seen = queries + 1, seen + there
    finally:
        stop.set()
        present.stop(30)
        stream.join()
        rewriter.join()
    assert not failure, failure
    assert host.alive() and host.stop(60) == 0
    job.until_end()
    ends = kafka.ends(job.topic)
    print(f"{queries} queries of {seen // max(queries, 1)} events, {done}, {sent[0]} late events, "
          f"{sum(ends.values())} in all, {sum(kind == 'sweep' for kind in job.kinds())} sweeps")
    assert queries > 3 and done["reprocess"] and done["compact"]
    job.exact_by_views(ends)
    job.proven()
