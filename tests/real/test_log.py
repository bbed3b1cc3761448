"""The commit log is the truth: `verify` finds what differs from it, `log` shows it, `gc` removes what is not in it."""

import random
import re
import shutil

import pytest

from pipeline import Pipeline
from process import until
from proxy import HELD, LATE, RECORD

COUNT = 3_000


@pytest.fixture(scope="module")
def topic(tidemill, kafka):
    """Events that many small lakes are made of."""
    assert tidemill.produce("log", COUNT).wait(30) == 0
    return "log"


@pytest.fixture
def pipelines(tidemill, buckets, disk, name):
    """Makes a pipeline over a fresh lake, on S3 or on local disk."""
    def make(place, topic):
        if place == "s3":
            database = name.replace("-", "_")
            return Pipeline(tidemill, topic, name, buckets(name), "--catalog", "glue", "--database", database)
        return Pipeline(tidemill, topic, name, disk, "--catalog", "local")
    return make


@pytest.fixture(params=["disk", "s3"])
def job(request, pipelines, topic):
    """A job that went well."""
    job = pipelines(request.param, topic)
    job.until_end()
    return job


@pytest.fixture
def on_disk(pipelines, topic):
    job = pipelines("disk", topic)
    job.until_end()
    return job


def a_file(job, table):
    """Key and path of one of a table's files."""
    return random.Random(7).choice(sorted(job.lake.files()[table].items()))


def found(job, *keys):
    """`verify` fails and names the keys, for people as for machines, and changes nothing."""
    checked = job.verify()
    assert checked.names(*keys), checked
    plain = job("verify")
    assert plain.code == 1 and all(key in plain.stdout for key in keys), (plain.code, plain.stdout)
    for finding in checked.findings:
        print(finding)
    return checked


def repaired(job, ends):
    """`verify --repair` puts it right, and then there is nothing left to find."""
    mended = job("verify", "--repair", "--transforms", job.tidemill.transforms)  # which know the tables
    assert mended.code == 0, (mended.stdout, mended.stderr[-2000:])
    job.proven()
    job.exact(ends)


def test_a_sound_lake_is_proven(job, kafka):
    checked = job.proven()
    assert checked.events == COUNT
    assert checked.files == sum(map(len, job.lake.files().values()))
    assert checked.records == len(job.slots())
    assert job("verify", "--pipeline", job.group).code == 0
    job.exact(kafka.ends(job.topic))


def test_a_missing_file_is_found(job):
    key, path = a_file(job, job.raw)
    path.unlink()
    found(job, key)


@pytest.mark.parametrize("change", ["cut short", "longer"])
def test_a_file_of_another_size_is_found(on_disk, change):
    key, path = a_file(on_disk, "user_events")
    content = path.read_bytes()
    path.write_bytes(content[:-1] if change == "cut short" else content + b"\0")
    found(on_disk, key)


def test_a_file_that_nobody_committed_is_found(job):
    key, path = a_file(job, job.raw)
    stray = key.rsplit("/", 1)[0] + "/stray.parquet"
    if job.lake.raw.url.startswith("s3:"):
        job.lake.raw.s3.client.put_object(Bucket=job.lake.raw.name, Key=stray, Body=path.read_bytes())
    else:
        shutil.copy(path, job.lake.raw.path(stray))
    found(job, stray)


def test_a_file_under_another_name_is_missing_and_a_stray(on_disk):
    key, path = a_file(on_disk, "rejected_events")
    path.rename(path.with_name(f"renamed-{path.name}"))
    found(on_disk, key, f"renamed-{path.name}")


def test_a_partition_that_the_catalog_lost_is_found_and_put_right(job, kafka, glue):
    table = "user_activity_per_minute"
    if job.lake.raw.url.startswith("s3:"):
        database = job.group.replace("-", "_")
        before = glue.partitions(database, table)
        lost = sorted(before)[0]
        glue.client.delete_partition(DatabaseName=database, TableName=table, PartitionValues=list(lost))
        found(job, table)
        repaired(job, kafka.ends(job.topic))
        assert glue.partitions(database, table) == before
    else:
        path, *_ = job.lake.processed.path(f"_tidemill/{job.group}/catalog/{table}/partitions").iterdir()
        content = path.read_bytes()
        path.unlink()
        found(job, table)
        repaired(job, kafka.ends(job.topic))
        assert path.read_bytes() == content


def test_a_file_that_is_not_published_is_found_and_put_right(on_disk, kafka):
    file, = [f for r in on_disk.log() for f in r.get("files", []) if f["table"] == "user_events"][:1]
    zone = {"raw": on_disk.lake.raw, "processed": on_disk.lake.processed}[file["zone"]]
    final, staging = zone.path(file["key"]), zone.path(file["how"]["rename"]["staging"])
    staging.parent.mkdir(parents=True, exist_ok=True)
    final.rename(staging)
    found(on_disk, file["key"])
    repaired(on_disk, kafka.ends(on_disk.topic))
    assert final.exists() and not staging.exists()


def test_the_log_can_be_read(job, kafka):
    records, slots = job.log(), job.slots()
    assert [r["seq"] for r in records] == sorted(slots) == list(range(len(slots)))
    assert [r["kind"] for r in records[:2]] == ["transforms", "start"]
    assert {r["kind"] for r in records[2:]} == {"epoch"}
    assert len({r["id"] for r in records}) == len(records)
    at, last = {}, {}
    for r in records:
        for a in r.get("partitions", []):
            assert a["from"] == at.get(a["partition"], 0) and a.get("prev") == last.get(a["partition"]), a
            at[a["partition"]], last[a["partition"]] = a["to"], r["seq"]
    assert at == kafka.ends(job.topic)
    rows = {(f["zone"], f["key"]): (f["rows"], f["bytes"]) for r in records for f in r.get("files", [])}
    assert len(rows) == sum(map(len, job.lake.files().values()))
    assert sum(n for (zone, _), (n, _) in rows.items() if zone == "raw") == COUNT

    assert job.log(records[-1]["seq"]) == records[-1:]
    assert job.log("--last", "1") == records[-1:]
    for arguments in [], [0], ["--last", "2"]:
        shown = job("log", *arguments)
        print(shown.stdout)
        wanted = {(): records, (0,): records[:1]}.get(tuple(arguments), records[-2:])
        assert shown.code == 0 and all(r["kind"] in shown.stdout for r in wanted)
        assert len(shown.stdout.splitlines()) >= len(wanted)


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_what_a_killed_host_left_is_removed(pipelines, kafka, topic, place):
    job = pipelines(place, topic)
    host = job.run("--until-end", failpoint="before-record")
    assert host.wait(60) == -9 and "failpoint before-record" in host.stderr
    left = [key for zone in job.lake.zones for key in zone.unfinished()]
    assert left, "files were to be left behind"
    assert not job.lake.files()

    assert job("gc").code == 0
    listing = job("gc", "--older-than", "0s")
    print(listing.stdout)
    assert listing.code == 0 and all(key.rsplit("/", 1)[1] in listing.stdout for key in left)
    assert [key for zone in job.lake.zones for key in zone.unfinished()] == left, "it was to remove nothing unasked"
    removed = job("gc", "--older-than", "0s", "--apply")
    assert removed.code == 0, removed.stderr[-2000:]
    assert [zone.unfinished() for zone in job.lake.zones] == [[], []]
    assert not [k for k in job.lake.processed.keys() if "/state/" in k], "a state that nobody committed"
    assert [r["kind"] for r in job.log()][-1] == "cleanup"
    job.proven()

    job.until_end()
    job.exact(kafka.ends(topic))
    assert job.proven().events == COUNT


@pytest.mark.parametrize("point", ["after-record", "published-one", "published"])
def test_what_a_killed_host_began_is_finished(pipelines, kafka, topic, point):
    """The next host publishes and registers it, even if there is nothing else to do."""
    job = pipelines("s3", topic)
    host = job.run("--until-end", failpoint=point)
    assert host.wait(60) == -9 and f"failpoint {point}" in host.stderr
    found(job)
    records = job.log()
    assert "rolled forward" in job.until_end().stderr
    assert job.log() == records, "there was nothing more to commit"
    job.exact(kafka.ends(topic))
    assert job.proven().events == COUNT


@pytest.mark.parametrize("place, much", [("disk", "all"), ("s3", "one file")])
def test_what_vanished_before_it_was_visible_is_made_again(pipelines, kafka, topic, place, much):
    """A rule of the bucket may abort an upload that a record counts on; the events are still in Kafka."""
    job = pipelines(place, topic)
    host = job.run("--until-end", failpoint="after-record")
    assert host.wait(60) == -9 and "failpoint after-record" in host.stderr
    left = [(zone, key) for zone in job.lake.zones for key in zone.unfinished()]
    for zone, key in left if much == "all" else left[:1]:
        zone.forget(key)
    found(job, *(key.rsplit("/", 1)[1] for _, key in left))
    job.until_end()
    repair, = [r for r in job.log() if r["kind"] == "repair"]
    print(job("log", repair["seq"]).stdout)
    job.exact(kafka.ends(topic))
    assert job.proven().events == COUNT


def test_clean_up_and_a_host_at_work_do_each_other_no_harm(pipelines, tidemill, kafka, proxy, name):
    """It takes what a host has staged while the record of it is under way: that comes too late, and nothing is lost."""
    kafka.create(name)
    job = pipelines("s3", name)
    produce = tidemill.produce(name, 0, rate=2_000)
    host = job.run(env={"AWS_ENDPOINT_URL_S3": proxy.url})
    both, count = [host, produce], lambda: job.lake.count(job.raw)
    until(count, 30, "events flow", alive=both)
    for turn in range(3):
        proxy.silent(only=RECORD)
        until(lambda: proxy.records[HELD] > turn, 30, "a record is under way", alive=both)
        removed = job("gc", "--older-than", "0s", "--apply")
        assert removed.code == 0 and job.log("--last", 1)[0]["kind"] == "cleanup", removed.stdout
        before = count()
        proxy.passes()
        until(lambda: count() > before, 30, "events flow again", alive=both)
    assert produce.stop(30) == 0
    ends = kafka.ends(name)
    until(lambda: count() >= sum(ends.values()), 30, "all events are in the raw zone", alive=[host])
    assert host.stop(20) == 0
    print(f"{len(job.log())} records; {host.stderr.count('abandoned')} epochs abandoned; {dict(proxy.records)} records")
    assert "abandoned" in host.stderr and proxy.records[LATE]
    job.exact(ends)
    job.proven()


def test_where_a_pipeline_began_is_remembered(pipelines, tidemill, kafka, name):
    """A host that began at the end, and was killed before there was anything to commit, has begun all the same."""
    assert tidemill.produce(name, COUNT).wait(30) == 0
    job, began = pipelines("disk", name), kafka.ends(name)
    host = job.run("--start", "latest", "-X", "session.timeout.ms=6000")  # so that it is soon forgotten
    until(lambda: {p for path in job.slots().values() for p in re.findall(r'"partition": ?(\d+)', path.read_text())}
          == {"0", "1", "2"}, 30, "each partition has its first record", alive=[host])
    host.kill()
    assert tidemill.produce(name, COUNT).wait(30) == 0
    job.until_end("--start", "latest")
    wrong = job.wrong(*((p, began[p], end) for p, end in kafka.ends(name).items()))
    assert not any(wrong.values()), wrong
    assert job.proven().events == COUNT


def test_offsets_that_are_gone_stop_a_host_until_a_person_says_so(pipelines, tidemill, kafka, name):
    assert tidemill.produce(name, COUNT).wait(30) == 0
    job = pipelines("disk", name)
    job.until_end()
    committed = kafka.ends(name)
    assert tidemill.produce(name, COUNT).wait(30) == 0
    low = committed[1] + 100
    kafka.delete_before(name, 1, low)

    host = job.run("--until-end")
    assert host.wait(60) == 1
    print(host.stderr)
    for word in (r"partition\W+1\b", rf"\b{committed[1]}\b", rf"\b{low}\b", "--on-data-loss"):
        assert re.search(word, host.stderr), word
    job.until_end("--on-data-loss", "continue")
    gap, = [r for r in job.log() if r["kind"] == "gap"]
    skipped, = gap["partitions"]
    assert (skipped["partition"], skipped["from"], skipped["to"]) == (1, committed[1], low)
    ends = kafka.ends(name)
    wrong = job.wrong((0, 0, ends[0]), (1, 0, committed[1]), (1, low, ends[1]), (2, 0, ends[2]))
    assert not any(wrong.values()), wrong
    job.proven()
    job.until_end()


@pytest.mark.parametrize("then", [COUNT // 2, COUNT * 2], ids=["shorter", "longer"])
def test_a_topic_made_anew_stops_a_host_until_a_person_says_so(pipelines, tidemill, kafka, name, then):
    assert tidemill.produce(name, COUNT).wait(30) == 0
    job = pipelines("disk", name)
    job.until_end()
    kafka.delete(name)
    assert tidemill.produce(name, then).wait(30) == 0

    host = job.run("--until-end")
    assert host.wait(60) == 1
    print(host.stderr)
    for word in (name, "anew", "--on-data-loss"):
        assert word in host.stderr, word
    assert job.lake.count(job.raw) == COUNT
    job.until_end("--on-data-loss", "continue")
    ends = kafka.ends(name)
    again, = job.lake.open().sql(f"""select count(*) from (select partition, "offset" from {job.raw}
                                     group by all having count(*) = 2)""").fetchall()[0]
    assert job.lake.count(job.raw) == COUNT + sum(ends.values()) and again == min(COUNT, then), "not from its beginning"
    assert job.lake.count("user_events") + job.lake.count("rejected_events") == COUNT + sum(ends.values())
    assert len({r["topic"]["id"] for r in job.log() if "topic" in r}) == 2, "the log was to tell the topics apart"
    job.proven()
    job.until_end()


def test_a_table_has_one_pipeline(on_disk, tidemill):
    before = on_disk.lake.files()
    second = Pipeline(tidemill, on_disk.topic, f"second-{on_disk.group}", on_disk.lake, *on_disk.flags)
    host = second.run("--until-end")
    assert host.wait(60) in (1, 2)
    print(host.stderr)
    assert re.search(rf"pipeline\W+{on_disk.group}\b", host.stderr), "it was to name the owner"
    assert on_disk.lake.files() == before
    on_disk.proven()


@pytest.mark.parametrize("gone", ["all of it", "its beginning", "a record amid"])
def test_without_its_log_a_lake_is_left_alone(pipelines, tidemill, name, gone):
    job = pipelines("disk", name)
    for _ in range(2):
        assert tidemill.produce(name, COUNT).wait(30) == 0
        job.until_end()
    slots = job.slots()
    assert len(slots) > 2
    if gone == "all of it":
        shutil.rmtree(job.log_folder)
    else:
        slots[0 if gone == "its beginning" else 1].unlink()
    before = job.lake.files()
    host = job.run("--until-end")
    assert host.wait(60) == 1
    print(host.stderr)
    assert re.search(r"\blog\b", host.stderr)
    assert job.lake.files() == before
    assert job("verify").code == 1


def test_a_log_without_its_end_is_found(on_disk):
    """Nothing in the log itself tells it; files that nobody committed do, and the offsets of the group."""
    slots = on_disk.slots()
    slots[max(slots)].unlink()
    before = on_disk.lake.files()
    host = on_disk.run("--until-end")
    assert host.wait(60) == 1
    print(host.stderr)
    assert re.search(r"\blog\b", host.stderr)
    assert on_disk.lake.files() == before
    found(on_disk, *(key for files in before.values() for key in files))
