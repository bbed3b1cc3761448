"""A view that was made once is right whatever comes later, and a query opens no more files than it must."""

import re
import shutil
import time

import duckdb
import pytest

from history import hours_ago, pipelines, produce


@pytest.fixture
def job(tidemill, kafka, buckets, disk, name):
    return pipelines(tidemill, kafka, buckets, disk, name)


def of(job, texts, query='select count(*), count(distinct ("partition", "offset")) from {raw}'):
    return job.read(texts).sql(query.format(raw=job.raw)).fetchall()


def sent(job, kafka, count, first, last, seed):
    produce(kafka, job.topic, count, first, last, seed=seed)
    job.until_end()


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_a_view_from_before_is_right_whatever_comes(job, kafka, place):
    job = job(place, "--retention-days", "1")
    now = int(time.time() * 1000)
    for seed in (1, 2):
        sent(job, kafka, 400, hours_ago(30), hours_ago(27), seed)
        sent(job, kafka, 600, hours_ago(3), hours_ago(0), seed + 2)
    # All hours that there are, are rewritten.
    rewritten = {hour["hour"] for hour in job.compact("--keep", "0s")["hours"] if hour["table"] == job.raw}
    job.compact("--keep", "0s")
    assert len(rewritten) == 6 and not any("/_gen/" not in key for key in job.lake.files()[job.raw])
    texts = job.views()
    assert of(job, texts) == [(2_000, 2_000)]
    # An hour that nobody has seen yet, and late events of one that was rewritten.
    sent(job, kafka, 300, hours_ago(0), now, 5)
    sent(job, kafka, 200, hours_ago(2), hours_ago(1), 6)
    assert of(job, texts) == [(2_500, 2_500)] and of(job, job.views()) == of(job, texts)

    # What has expired goes; late events of it lie in a folder that was not there.
    job.json("retain", "--apply", "--keep", "0s")
    texts = job.views()
    assert of(job, texts) == [(1_700, 1_700)]
    sent(job, kafka, 100, hours_ago(30), hours_ago(27), 7)
    assert of(job, texts) == [(1_800, 1_800)]
    types = 'select distinct typeof(date), typeof(hour), typeof("timestamp"), typeof(headers) from {raw}'
    assert of(job, texts, types) == [
        ("DATE", "BIGINT", "TIMESTAMP WITH TIME ZONE", 'STRUCT("name" VARCHAR, "value" BLOB)[]')]
    wrong = ("select count(*) from {raw} where date != cast(\"timestamp\" at time zone 'UTC' as date)"
             " or hour != extract(hour from \"timestamp\" at time zone 'UTC')")
    assert of(job, texts, wrong) == [(0,)]
    job.proven()


def test_a_table_of_which_nothing_is_left_can_be_read_and_filled_again(job, kafka):
    job = job("disk", "--retention-days", "1")
    sent(job, kafka, 500, hours_ago(30), hours_ago(28), 1)
    job.json("retain", "--apply", "--keep", "0s")
    job.json("retain", "--apply", "--keep", "0s")
    assert not job.lake.files().get(job.raw), "nothing is left"
    texts = job.views()
    assert of(job, texts) == [(0, 0)] and of(job, texts, "select count(*) from user_events") == [(0,)]
    # A table that never had a row has a view, too.
    assert {"rejected_events", "user_sessions", "active_users", job.raw} <= texts.keys()
    for table in texts:
        assert job.read(texts).sql(f"select count(*) from {table}").fetchall() == [(0,)], table
    job.proven()
    sent(job, kafka, 200, hours_ago(29), hours_ago(28), 2)
    sent(job, kafka, 100, hours_ago(1), hours_ago(0), 3)
    assert of(job, texts) == [(300, 300)]
    job.proven()


def test_a_query_of_an_hour_opens_no_file_of_another(job, kafka, tmp_path):
    """All other files are made unreadable: whoever opens one fails."""
    job = job("disk")
    for seed in (1, 2):
        sent(job, kafka, 3_000, hours_ago(40), hours_ago(0), seed)
    job.compact("--table", job.raw, "--hours", "30")
    # Their files are still there, in both generations.
    sent(job, kafka, 500, hours_ago(40), hours_ago(0), 3)
    texts, moved = {job.raw: job.views()[job.raw]}, tmp_path / "moved"
    for ago, generation in ((38, "_gen/2/"), (3, "")):
        folder = time.strftime("date=%Y-%m-%d/hour=%H", time.gmtime(hours_ago(ago) / 1000))
        date, hour = re.findall(r"=([^/]+)", folder)
        query = f"select count(*) from {job.raw} where date = '{date}' and hour = {int(hour)}"
        (wanted,) = job.read(texts).sql(query).fetchall()[0]
        assert wanted > 50
        shutil.rmtree(moved, ignore_errors=True)
        shutil.copytree(job.lake.raw.root, moved)
        hidden = 0
        for path in (moved / job.raw).rglob("*.parquet"):
            if not path.as_posix().startswith(f"{moved}/{job.raw}/{generation}{folder}"):
                path.write_bytes(b"no Parquet")
                hidden += 1
        assert hidden > 100
        db = duckdb.connect()
        db.execute(texts[job.raw].replace(str(job.lake.raw.root), str(moved)))
        assert db.sql(query).fetchall() == [(wanted,)]
        with pytest.raises(duckdb.Error):
            db.sql(f"select min(\"offset\") from {job.raw}").fetchall()
        read = re.search(r"Total Files Read: (\d+)", db.sql(f"explain analyze {query}").fetchall()[0][1])
        print(f"{folder}: {read[1]} files read, {hidden} others are unreadable")
