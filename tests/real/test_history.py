"""Hours are merged, expire and are removed, beside a stream and its readers, and whenever that is killed."""

import json
import threading
import time

import duckdb
import pytest

from history import hours_ago, pipelines, produce
from process import until

HOURS = 3
POINTS = ["compact-merged", "flip-staged", "flip-record", "published-one", "flip-published", "compact-told"]


@pytest.fixture
def job(tidemill, kafka, buckets, disk, name):
    return pipelines(tidemill, kafka, buckets, disk, name)


def many_files(job, kafka, rounds=3, count=2_000):
    """Events of closed hours in several commits: several files an hour and table."""
    for round in range(rounds):
        produce(kafka, job.topic, count, hours_ago(HOURS), hours_ago(0), seed=round)
        job.until_end()


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_hours_are_merged_and_nothing_changes_for_a_reader(job, kafka, place):
    job = job(place)
    many_files(job, kafka)
    before, files, checked = job.content(), job.files(), job.proven()
    dry = job.compact("--dry-run")
    assert dry["hours"] and job.files() == files and "compact" not in job.kinds()

    done = job.compact()
    print(job("log", "--last", 3).stdout, json.dumps(done["hours"][0]))
    assert [h["table"] + h["hour"] for h in done["hours"]] == [h["table"] + h["hour"] for h in dry["hours"]]
    assert {h["table"] for h in done["hours"]} >= {job.raw, *job.tables}
    for hour in done["hours"]:
        assert hour["files"]["before"] > 1 and hour["files"]["after"] == 1, hour
        rows = hour["rows"]
        if hour["table"] == "user_activity_per_minute":
            assert rows["after"] < rows["before"], "rows of a minute are summed"
        elif hour["table"] in (job.raw, *job.tables):
            assert rows["after"] == rows["before"], hour
    assert not done["untold"] and not done["left"]
    assert job.content() == before
    assert job.proven().events == checked.events
    # Again there is nothing to do.
    assert not job.compact()["hours"]

    # What was taken away goes when no reader needs it; late events go where the hour is read.
    swept = job.compact("--keep", "0s")["swept"]
    assert swept["files"] == sum(h["files"]["before"] for h in done["hours"]) and not swept["left"]
    assert job.content() == before
    job.proven()
    produce(kafka, job.topic, 500, hours_ago(HOURS), hours_ago(0), seed=99)
    job.until_end()
    assert len(job.content()[job.raw]) == len(before[job.raw]) + 500
    late = [key for key in job.lake.files()[job.raw] if "/_gen/2/" in key]
    assert len(late) > len(done["hours"]) / 4
    assert job.proven().events == checked.events + 500
    # The catalog shows the same: what it says is what the view reads.
    again = job.compact("--keep", "0s")
    assert again["hours"] and job.proven().code == 0
    assert any("/_gen/3/" in key for key in job.lake.files()[job.raw])
    print(files, job.files())


@pytest.mark.parametrize("point, place", [
    *((point, "disk") for point in POINTS), ("flip-record", "s3"), ("published-one", "s3")])
def test_a_compaction_that_is_killed_is_whole_or_nothing(job, kafka, place, point):
    job = job(place)
    many_files(job, kafka, rounds=2, count=600)
    before = job.content()
    if point == "published-one":
        # What hosts wrote last is published before.
        last = max((r for r in job.log() if r["kind"] == "epoch"), key=lambda r: r["seq"])
        point = f"published-one:{len(last['files']) + 1}"
    kinds = job.kinds()
    job.killed(point, "compact", "--closed-for", "0s")
    told = job.kinds()[len(kinds):]
    assert set(told) == (set() if point in ("compact-merged", "flip-staged") else {"compact"}), told
    assert len(told) <= 1 or "published-one" in point
    if not told:
        job.proven()
        assert job.content() == before
        assert job("gc", "--older-than", "0s", "--apply").code == 0
        assert [zone.unfinished() for zone in job.lake.zones] == [[], []]
    else:
        removed = job("gc", "--older-than", "0s", "--apply")
        assert removed.code == 0 and "nothing to remove" in removed.stdout, "it belongs to a record"
    assert job.compact("--keep", "0s")["hours"]
    assert job.content() == before
    job.proven()
    # A host finishes what is left, too.
    job.until_end()
    job.proven()
    assert [zone.unfinished() for zone in job.lake.zones] == [[], []]


@pytest.mark.parametrize("place", ["disk", "s3"])
@pytest.mark.parametrize("point", ["sweep-record", "removed-one"])
def test_a_sweep_that_is_killed_is_finished_by_whoever_comes_next(job, kafka, place, point):
    job = job(place)
    many_files(job, kafka, rounds=2, count=600)
    before = job.content()
    job.compact()
    job.killed(point, "compact", "--closed-for", "0s", "--keep", "0s")
    assert job.kinds()[-1] == "sweep"
    assert job.content() == before
    produce(kafka, job.topic, 50, hours_ago(HOURS), hours_ago(0), seed=5)
    job.until_end()
    job.proven()
    assert not any("/date=" in key and "/_gen/" not in key and f"hour={hour:02}" in key
                   for hour in [time.gmtime(hours_ago(HOURS) / 1000).tm_hour]
                   for key in job.lake.files()[job.raw])


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_what_has_expired_goes(job, kafka, place):
    job = job(place, "--retention-days", "1")
    produce(kafka, job.topic, 2_000, hours_ago(30), hours_ago(27), seed=1)
    produce(kafka, job.topic, 2_000, hours_ago(3), hours_ago(0), seed=2)
    job.until_end()
    before, young = job.content(), hours_ago(24)
    job.compact()
    dry = job.json("retain")
    assert not dry["applied"] and job.content() == before and "expire" not in job.kinds()
    print(job("retain").stdout)
    gone = {table["table"]: table for table in dry["tables"]}
    assert set(gone) >= {job.raw, *job.tables}
    assert all(gone[table]["hours"] == 3 for table in (job.raw, *job.tables)), gone
    assert gone[job.raw]["rows"] == 2_000

    done = job.json("retain", "--apply", "--keep", "1d")
    assert [{**t, "records": []} for t in done["tables"]] == dry["tables"]
    after = job.content()
    assert len(after[job.raw]) == 2_000 and after["user_events"] == [r for r in before["user_events"] if r in after["user_events"]]
    job.proven()
    assert not job.json("retain", "--apply", "--keep", "1d")["tables"]
    # What is past its retention and comes all the same has a place of its own, until the next run.
    produce(kafka, job.topic, 300, hours_ago(29), hours_ago(28), seed=3)
    job.until_end()
    job.proven()
    assert len(job.content()[job.raw]) == 2_300
    late = job.json("retain", "--apply", "--keep", "0s")
    assert {t["table"]: t["rows"] for t in late["tables"]}[job.raw] == 300
    swept = job.json("retain", "--apply", "--keep", "0s")["swept"]
    assert late["swept"]["files"] + swept["files"] > 0 and not swept["left"]
    assert job.content() == after
    job.proven()
    old = time.strftime("hour=%H", time.gmtime(hours_ago(30) / 1000)), young
    assert not any(old[0] in key for key in job.lake.files()[job.raw]), "nothing of it is left"


@pytest.mark.parametrize("point", ["expire-record", "sweep-record", "removed-one"])
def test_a_retention_that_is_killed_is_finished(job, kafka, point):
    job = job("disk", "--retention-days", "1")
    produce(kafka, job.topic, 500, hours_ago(30), hours_ago(28), seed=1)
    produce(kafka, job.topic, 500, hours_ago(3), hours_ago(0), seed=2)
    job.until_end()
    job.killed(point, "retain", "--apply", "--keep", "0s")
    job.json("retain", "--apply", "--keep", "0s")
    job.json("retain", "--apply", "--keep", "0s")
    job.proven()
    assert len(job.content()[job.raw]) == 500
    assert not job.json("retain")["tables"]


def test_every_query_sees_every_event_once_while_hours_are_rewritten(job, kafka):
    """A stream of late events, compactions in a loop that sweep at once, and queries in a loop through the views."""
    job = job("disk")
    many_files(job, kafka, rounds=2, count=3_000)
    job.write_views()
    host, stop, sent = job.run(interval="500ms"), threading.Event(), []
    stream = threading.Thread(target=lambda: sent.append(produce(
        kafka, job.topic, 10**9, hours_ago(HOURS), hours_ago(0), seed=11, done=stop.is_set, rate=4_000)))
    stream.start()
    rewritten, queries, behind, failure = [], 0, 0, []

    def compacting():
        try:
            while not stop.is_set():
                done = job.compact("--keep", "8s")
                rewritten.extend(h for h in done["hours"] if h["record"])
        except BaseException as error:  # noqa: BLE001  it is raised below
            failure.append(error)

    compactor = threading.Thread(target=compacting)
    compactor.start()
    began = time.monotonic()
    try:
        while time.monotonic() - began < 20 and not failure:
            text = job.views()[job.raw]
            known = int(text.split("after record ")[1].split(" ")[0])
            # What a record before was published when the next one of its partition was written.
            least = {}
            for seq, path in job.slots().items():
                if seq <= known:
                    record = json.loads(path.read_text())
                    for advance in record.get("partitions", []):
                        least[advance["partition"]] = max(advance["from"], least.get(advance["partition"], 0))
            rows = job.read({"raw": text}).sql(
                f'select partition, count(*), count(distinct "offset"), '
                f'count(*) filter ("offset" < l.least) from {job.raw} join '
                f"(values {', '.join(str(pair) for pair in least.items())}) l(p, least) on partition = p group by partition"
            ).fetchall()
            for partition, count, distinct, old in rows:
                assert count == distinct, f"partition {partition}: {count - distinct} events twice, view after {known}"
                assert old == least[partition], f"partition {partition}: {old} of {least[partition]}, view after {known}"
            queries += 1
            behind += sum(least.values())
    finally:
        stop.set()
        stream.join()
        compactor.join()
    assert not failure, failure
    assert host.alive()
    ends = kafka.ends(job.topic)
    host.stop(30)
    job.until_end()
    print(f"{queries} queries, {len(rewritten)} hours rewritten, {sent[0]} events streamed, "
          f"{sum(kind == 'sweep' for kind in job.kinds())} sweeps")
    assert queries > 5 and len(rewritten) > 5 and "sweep" in job.kinds()
    content = job.content()
    assert len(content[job.raw]) == sum(ends.values())
    minutes = sum(float(row[-1]) for row in content["minutes"])
    assert minutes == len(content["user_events"])
    job.proven()


def test_a_host_merges_files_beside_its_stream(job, kafka):
    job = job("disk", "--compact", "2s")
    many_files(job, kafka, rounds=9, count=300)
    before = job.content()
    # Hours must have been over for an hour.
    host = job.run()
    until(lambda: "compact" in job.kinds(), 40, "the host merges", every=0.5, alive=[host])
    host.stop(30)
    # It may have been stopped between a record and the catalog: whoever comes next tells that.
    job.compact()
    assert job.content() == before
    job.proven()


def test_verify_sees_what_is_wrong_with_a_rewritten_hour(job, kafka):
    job = job("disk")
    many_files(job, kafka, rounds=2, count=600)
    old = {key: path.read_bytes() for key, path in job.lake.files()[job.raw].items()}
    done = job.compact()
    job.compact("--keep", "0s")
    job.proven()
    files = {table: sorted((k, p) for k, p in found.items() if "/_gen/2/" in k) for table, found in job.lake.files().items()}
    # Another event in the place of one: only the sum of events tells.
    key, path = files[job.raw][0]
    whole = path.read_bytes()
    duckdb.sql(f"""copy (select * replace (case when "offset" = 0 and partition = 0 then 10**6 else "offset" end as "offset")
                         from read_parquet('{path}', hive_partitioning = false)) to '{path}' (format parquet, compression zstd)""")
    record = next(h["record"] for h in done["hours"] if h["table"] == job.raw and h["hour"] in key)
    found = {f["kind"] for f in job.verify().findings}
    # The offset 0 of partition 0 need not be in this hour; then nothing but the size has changed.
    assert "size" in found and all(f"record {record}" in f["what"] for f in job.verify().findings)
    path.write_bytes(whole)
    job.proven()
    # A row less.
    duckdb.sql(f"copy (from read_parquet('{path}', hive_partitioning = false) offset 1) to '{path}' (format parquet, compression zstd)")
    assert {"rows", "size"} <= {f["kind"] for f in job.verify().findings}
    # Gone.
    path.unlink()
    assert job.verify().names(key)
    path.write_bytes(whole)
    # What was swept comes back.
    back, content = next(iter(old.items()))
    job.lake.raw.path(back).parent.mkdir(parents=True, exist_ok=True)
    job.lake.raw.path(back).write_bytes(content)
    assert job.verify().names(back)
    job.lake.raw.path(back).unlink()
    job.proven()
    # The catalog shows an hour where it lay before.
    partition = next((job.lake.processed.path(f"_tidemill/{job.group}/catalog/{job.raw}/partitions")).iterdir())
    shown = json.loads(partition.read_text())
    partition.write_text(json.dumps({**shown, "folder": shown["folder"].split("/", 2)[2]}))
    assert job.verify().names("_gen/2")
    assert job.verify("--repair", "--transforms", job.tidemill.transforms).code == 0
    job.proven()
