"""What upkeep of rewritten hours leaves alone, and for how long."""

import json
import os
import shutil
import time

import pytest

from history import hours_ago, pipelines, produce

HOURS = 3
DAY = 24 * 3600


@pytest.fixture
def job(tidemill, kafka, buckets, disk, name):
    return pipelines(tidemill, kafka, buckets, disk, name)


def many_files(job, kafka, rounds=2, count=300, seed=0):
    for round in range(rounds):
        produce(kafka, job.topic, count, hours_ago(HOURS), hours_ago(0), seed=seed + round)
        job.until_end()


def age(paths, seconds=2 * DAY):
    """On a disk, the time of a file is the store's."""
    paths = list(paths)
    for path in paths:
        os.utime(path, (time.time() - seconds,) * 2)
    return len(paths)


def test_what_was_replaced_is_kept_from_when_readers_were_told(job, kafka):
    job = job("disk")
    many_files(job, kafka)
    before = job.content()
    job.killed("flip-published", "compact", "--closed-for", "0s")
    # Nobody came by for two days.
    age(job.slots().values())
    told = lambda: job.lake.processed.path(f"_tidemill/{job.group}/told").glob("0*")
    first = job.compact("--keep", "1d")
    assert not first["swept"]["records"] and first["swept"]["left"] == job.kinds().count("compact"), first["swept"]
    assert job.content() == before
    # They know for two days by now.
    assert age(told()) == 1
    second = job.compact("--keep", "1d")["swept"]
    assert second["records"] and not second["left"] and not list(told()), second
    assert job.content() == before
    job.proven()

    # A late request moves a partition back: until now readers were sent to the old files, which must stay.
    many_files(job, kafka, rounds=1, seed=7)
    again = job.compact("--keep", "1d")
    hour = next(h["hour"] for h in again["hours"] if h["table"] == job.raw)
    assert age(told()) == 1
    folder = job.lake.processed.path(f"_tidemill/{job.group}/catalog/{job.raw}/partitions")
    partition = folder / f"{hour.replace('/', ',')}.json"
    shown = json.loads(partition.read_text())
    assert "_gen/3/" in shown["folder"], shown
    partition.write_text(json.dumps({**shown, "folder": shown["folder"].replace("_gen/3/", "_gen/2/")}))
    corrected = job.compact("--keep", "1d")["swept"]
    assert "_gen/3/" in partition.read_text() and corrected["left"], corrected
    assert any(f"/_gen/2/{hour}/" in key for key in job.lake.files()[job.raw])
    job.proven()
    # The same again: its time begins anew.
    assert job.compact("--keep", "1d")["swept"]["left"] == corrected["left"]
    age(told())
    assert not job.compact("--keep", "1d")["swept"]["left"]
    assert not any(f"/_gen/2/{hour}/" in key for key in job.lake.files()[job.raw])
    job.proven()


def test_what_no_transform_makes_any_more_is_not_swept(job, kafka, tmp_path):
    job = job("disk")
    many_files(job, kafka)
    job.compact()
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    for path in job.tidemill.transforms.glob("*.wasm"):
        if path.stem != "sessions":
            shutil.copy(path, fewer)
    produce(kafka, job.topic, 10, hours_ago(1), hours_ago(0), seed=9)
    host = job("run", "--until-end", "--brokers", kafka.brokers, "--commit-interval", "1s", "--transforms", fewer)
    assert host.code == 0, host.stderr[-2000:]
    swept = job.compact("--keep", "0s")["swept"]
    files = job.lake.files()
    old = {table: [key for key in found if "/_gen/" not in key] for table, found in files.items()}
    assert swept["records"] and swept["left"] and "table user_sessions" in swept["why"], swept
    assert len(old["user_sessions"]) > 1 and len(old["user_events"]) < HOURS, old
    job.proven()


def test_a_table_that_glue_projects_is_left_alone(job, kafka, glue):
    job = job("s3")
    many_files(job, kafka, count=100)
    database = job.flags[job.flags.index("--database") + 1]
    table = glue.client.get_table(DatabaseName=database, Name=job.raw)["Table"]
    glue.client.update_table(DatabaseName=database, TableInput={
        **{k: table[k] for k in ("Name", "TableType", "PartitionKeys", "StorageDescriptor")},
        "Parameters": {**table["Parameters"], "projection.enabled": "TRUE"}})
    done = job.compact()
    assert done["hours"] and job.raw not in {hour["table"] for hour in done["hours"]}
    assert [why for why in done["left"] if f"table {job.raw} has partition projection" in why], done["left"]
    job.proven()


def test_a_file_that_is_gone_holds_up_no_other_hour(job, kafka):
    job = job("disk")
    many_files(job, kafka)
    oldest = min(job.lake.files()[job.raw])
    job.lake.raw.path(oldest).unlink()
    done = job.compact("--table", job.raw)
    assert len(done["hours"]) == HOURS - 1 and len(done["left"]) == 1, done
    assert oldest in done["left"][0] and "is gone" in done["left"][0], done["left"]
    assert job.verify().names(oldest)


def test_events_from_long_ago_make_retain_ask_for_the_time(job, kafka):
    """As after a clock has jumped ahead, and was committed with: the newest event seems to be from days ago."""
    job = job("disk", "--retention-days", "1")
    produce(kafka, job.topic, 200, hours_ago(12 * 24), hours_ago(12 * 24 - 1))
    job.until_end()
    refused = job("retain", "--apply")
    assert refused.code == 1 and "the newest event was sent 1" in refused.stderr, refused.stderr
    assert "--standing-still" in refused.stderr and "expire" not in job.kinds()
    assert job.json("retain", "--apply", "--standing-still")["tables"]
    job.proven()
