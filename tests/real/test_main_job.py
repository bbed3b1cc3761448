"""The main job, whole: 200,000 events, 1 % of them bad, through the shipped transforms into the lake.

Run three ways (to S3 with Glue, the same with two hosts in one group, to local disk); each test looks at one
property of what came out. The oracle is the topic itself, read once more, and DuckDB.
"""

from collections import Counter
from dataclasses import dataclass

import pytest

from host import cost
from lake import Lake, folders
from oracle import clean
from process import until

COUNT = 200_000
# The sessions of these events are open at the end.
MINUTES = ("user_activity_per_minute", "user_pages_per_minute", "user_locations_per_minute", "active_users")
TABLES = {"user_events", *MINUTES, "rejected_events"}
EMPTY = {"user_sessions"}


@dataclass
class Job:
    name: str
    topic: str
    lake: Lake
    hosts: list
    events: dict
    database: str = None

    @property
    def raw_table(self):
        return self.topic.replace("-", "_") + "_raw"


@pytest.fixture(scope="module")
def preloaded(tidemill, kafka):
    """The topic `user-events`, filled before any host starts. `produce` creates it."""
    produce = tidemill.produce("user-events", COUNT)
    assert produce.wait(60) == 0
    print(cost(produce))
    ends = kafka.ends("user-events")
    assert len(ends) == 3 and sum(ends.values()) == COUNT and all(ends.values())
    return kafka.events("user-events")


def on_s3(tidemill, buckets, preloaded):
    """The reference deployment: every name is the default."""
    lake = buckets("user-events")
    host = tidemill.run("user-events", "tidemill", lake, "--catalog", "glue", "--until-end")
    assert host.wait(90) == 0
    return Job("s3", "user-events", lake, [host], preloaded, "user_analytics_db")


def on_disk(tidemill, tmp_path_factory, preloaded):
    lake = Lake.within(tmp_path_factory.mktemp("lake"))
    host = tidemill.run("user-events", "on-disk", lake, "--catalog", "local", "--until-end")
    assert host.wait(90) == 0
    return Job("disk", "user-events", lake, [host], preloaded)


def with_two_hosts(tidemill, kafka, buckets):
    """Events stream in while one host works and a second joins, so partitions move under way."""
    topic = group = "two-hosts"
    lake = buckets(topic)
    kafka.create(topic)
    arguments = [topic, group, lake, "--catalog", "glue", "--database", "two_hosts"]
    produce = tidemill.produce(topic, COUNT, rate=15_000)
    first = tidemill.run(*arguments)
    until(lambda: lake.count("two_hosts_raw"), 30, "the first host wrote rows", alive=[first])
    assert produce.alive(), "the second host must join while events come in"

    second = tidemill.run(*arguments)
    shared = until(lambda: len(m := kafka.members(group)) == 2 and all(m.values()) and m, 30,
                   "two hosts share the topic", alive=[first, second])
    before = Counter(p for p, _ in lake.offsets("two_hosts_raw", "partition", "offset"))
    assert produce.wait(60) == 0
    until(lambda: lake.count("two_hosts_raw") >= COUNT, 60, "all events are in the raw zone",
          alive=[first, second])
    assert kafka.members(group) == shared, "the assignment was to hold until the end"
    after = Counter(p for p, _ in lake.offsets("two_hosts_raw", "partition", "offset"))
    for member, partitions in shared.items():
        assert sum(after[p] - before[p] for p in partitions) > 0, f"{member} wrote no row"

    assert [host.stop(15) for host in (first, second)] == [0, 0]
    return Job("two-hosts", topic, lake, [first, second], kafka.events(topic), "two_hosts")


@pytest.fixture(scope="module", params=["s3", "two-hosts", "disk"])
def job(request, tidemill, kafka, buckets, tmp_path_factory):
    if request.param == "two-hosts":
        job = with_two_hosts(tidemill, kafka, buckets)
    elif request.param == "s3":
        job = on_s3(tidemill, buckets, request.getfixturevalue("preloaded"))
    else:
        job = on_disk(tidemill, tmp_path_factory, request.getfixturevalue("preloaded"))
    for host in job.hosts:
        print(cost(host))
    return job


def test_raw_holds_every_event_once_and_byte_for_byte(job):
    rows = job.lake.open().sql(f"""
        select partition, "offset", topic, key, value, epoch_ms("timestamp") from {job.raw_table}""").fetchall()
    found = {(p, o): rest for p, o, *rest in rows}
    assert len(found) == len(rows) == COUNT
    assert found == {at: [job.topic, m.key(), m.value(), m.timestamp()[1]] for at, m in job.events.items()}


def test_each_event_is_in_user_events_or_rejected(job):
    good = job.lake.offsets("user_events")
    rejected = job.lake.rejected()
    assert len(set(good)) == len(good), "an event is in user_events twice"
    assert set(good).isdisjoint(rejected)
    assert len(good) + len(rejected) == COUNT
    assert set(good) | set(rejected) == set(job.events)


def test_rejected_events_have_reasons_and_their_bytes(job):
    rejected = job.lake.rejected()
    for (reason, stage), n in sorted(Counter((r, s) for r, s, _ in rejected.values()).items()):
        print(f"{n:6} {stage}: {reason}")
    assert 0 < len(rejected) < 0.02 * COUNT
    assert all(reason and stage in ("decode", "transform") for reason, stage, _ in rejected.values())
    assert all(value == job.events[at].value() for at, (_, _, value) in rejected.items())


def test_user_events_is_what_clean_promises(job):
    rows = job.lake.open().sql("""
        select kafka_partition, kafka_offset,
               user_id, event_type, epoch_us("timestamp"), page, session_id, device, location
        from user_events""").fetchall()
    found = {(p, o): tuple(rest) for p, o, *rest in rows}
    expected = {at: row for at, m in job.events.items() if (row := clean(m.value(), m.timestamp()[1]))}
    wrong = {at: (found.get(at), expected.get(at)) for at in found.keys() | expected.keys()
             if found.get(at) != expected.get(at)}
    assert not wrong, f"{len(wrong)} differ, such as {list(wrong.items())[:3]}"


def test_the_minutes_add_up_to_user_events(job):
    db = job.lake.open()
    assert db.sql("select sum(events) from user_activity_per_minute").fetchall()[0] == \
           db.sql("select count(*) from user_events").fetchall()[0]
    # A user's events are all in one partition, because they are keyed by user: so distinct users add up.
    rows = db.sql("""
        with summed as (select window_start as minute, event_type, device, sum(events)::bigint as events,
                               sum(users)::bigint as users, sum(sessions)::bigint as sessions
                        from user_activity_per_minute group by all),
        counted as (select time_bucket(interval 1 minute, "timestamp") as minute, event_type, device, count(*) as events,
                           count(distinct user_id) as users, count(distinct session_id) as sessions
                    from user_events group by all)
        select c.events, s.events, c.users, s.users, c.sessions, s.sessions
        from counted c full join summed s using (minute, event_type, device)""").fetchall()
    assert len(rows) > 1
    for events, summed, *distinct in rows:
        assert summed == events
        for expected, found in zip(distinct[::2], distinct[1::2]):
            # Beyond 4,096 in a partition they are estimated, with an error of 1.6 %.
            assert abs(found - expected) <= (0.05 * expected if expected > 4096 else 0), (events, expected, found)


def test_the_overview_is_what_sql_makes_of_user_events(job):
    db = job.lake.open()
    for table, column in [("user_pages_per_minute", "page"), ("user_locations_per_minute", "location")]:
        found = db.sql(f"select epoch_us(window_start), {column}, sum(events)::bigint from {table} group by all").fetchall()
        expected = db.sql(f"""select epoch_us(time_bucket(interval 1 minute, "timestamp")), coalesce({column}, 'unknown'), count(*)
                              from user_events group by all""").fetchall()
        assert len(found) > 1 and set(found) == set(expected), table
    found = {(start, period): rest for start, period, *rest in db.sql("""
        select epoch_us(window_start), period, sum(events)::bigint, sum(users)::bigint, sum(sessions)::bigint
        from active_users group by all""").fetchall()}
    expected = {(start, period): rest for start, period, *rest in db.sql("""
        select epoch_us(date_trunc(period, "timestamp" at time zone 'UTC')), period, count(*),
               count(distinct user_id), count(distinct session_id)
        from user_events, unnest(['minute', 'hour', 'day']) as lengths(period) group by all""").fetchall()}
    assert found.keys() == expected.keys() and {period for _, period in found} == {"minute", "hour", "day"}
    for at, (events, *distinct) in expected.items():
        assert found[at][0] == events
        for exact, number in zip(distinct, found[at][1:]):
            # Beyond 4,096 in a partition they are estimated, with an error of 1.6 %.
            assert abs(number - exact) <= (0.05 * exact if exact > 4096 else 0), (at, exact, number)


@pytest.mark.parametrize("table, time", [
    (None, "timestamp"), ("user_events", "timestamp"), *((table, "window_start") for table in MINUTES),
    ("rejected_events", "timestamp")], ids=["raw", "user_events", *MINUTES, "rejected_events"])
def test_rows_lie_in_the_folder_of_their_hour(job, table, time):
    table = table or job.raw_table
    misfiled = job.lake.open().sql(f"""
        select filename, min("{time}")::varchar, count(*) from {table}
        where not contains(filename, strftime("{time}", '/{table}/date=%Y-%m-%d/hour=%H/')) group by all""").fetchall()
    assert not misfiled


def test_nothing_else_is_visible(job):
    for zone, tables in [(job.lake.raw, {job.raw_table}), (job.lake.processed, TABLES)]:
        keys = [k for k in zone.keys() if not k.startswith("_")]
        assert {k.split("/")[0] for k in keys} == tables
        for key in keys:
            _, date, hour, file = key.split("/")
            assert date.startswith("date=") and hour.startswith("hour=") and file.endswith(".parquet"), key
        assert zone.unfinished() == []


def test_files_are_plain_parquet_for_any_reader(job):
    db = job.lake.open()
    for table, files in job.lake.files().items():
        paths = [str(p) for p in files.values()]
        codecs = db.sql(f"select distinct compression from parquet_metadata({paths!r})").fetchall()
        assert codecs == [("ZSTD",)], table
        times = db.sql(f"""select distinct type, logical_type from parquet_schema({paths!r})
                           where name in ('timestamp', 'window_start')""").fetchall()
        assert [t for t, _ in times] == ["INT64"], table
        assert "isAdjustedToUTC=1" in times[0][1] and "MICROS" in times[0][1], times


def test_the_host_was_calm(job):
    for host in job.hosts:
        assert host.code == 0
        assert "panicked" not in host.stderr


on_glue = pytest.mark.parametrize("job", ["s3", "two-hosts"], indirect=True)

# DuckDB's name of a column's type -> Hive's, as Athena and Spark read it from Glue.
HIVE = {"VARCHAR": "string", "BLOB": "binary", "INTEGER": "int", "BIGINT": "bigint", "DOUBLE": "double",
        "BOOLEAN": "boolean", "TIMESTAMP WITH TIME ZONE": "timestamp", "TIMESTAMP": "timestamp",
        'STRUCT("name" VARCHAR, "value" BLOB)[]': "array<struct<name:string,value:binary>>"}


@on_glue
def test_glue_lists_database_and_tables(job, glue):
    assert job.database in glue.databases()
    assert set(glue.tables(job.database)) == TABLES | EMPTY | {job.raw_table}


@on_glue
def test_glue_tables_read_as_hive_tables_over_parquet(job, glue):
    db = job.lake.open()
    for name, table in glue.tables(job.database).items():
        storage, zone = table["StorageDescriptor"], job.lake.raw if name == job.raw_table else job.lake.processed
        assert table["TableType"] == "EXTERNAL_TABLE"
        assert table["Parameters"]["classification"] == "parquet"
        assert [(k["Name"], k["Type"]) for k in table["PartitionKeys"]] == [("date", "string"), ("hour", "string")]
        assert storage["Location"].rstrip("/") == f"{zone.url}/{name}"
        assert storage["InputFormat"] == "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
        assert storage["OutputFormat"] == "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"
        assert storage["SerdeInfo"]["SerializationLibrary"] == \
            "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
        if name in EMPTY:  # no files to compare with
            continue
        in_files = {c: HIVE[t] for c, t, *_ in db.sql(f"describe {name}").fetchall() if c != "filename"}
        assert {c["Name"]: c["Type"] for c in storage["Columns"]} == in_files


@on_glue
def test_glue_knows_exactly_the_partitions_that_exist(job, glue):
    for name, files in job.lake.files().items():
        zone = job.lake.raw if name == job.raw_table else job.lake.processed
        partitions = glue.partitions(job.database, name)
        assert set(partitions) == folders(files), name
        for (date, hour), location in partitions.items():
            assert location.rstrip("/") == f"{zone.url}/{name}/date={date}/hour={hour}"
