"""Windows on real components, with hosts that are killed: minutes, sessions and active users are what plain SQL makes of the raw zone.

Events come out of order by up to an hour, twice, far too late and from the future; one partition's clock jumps ahead,
one partition is empty. Lateness is one hour, so what is late follows from the topic alone; of two days for
`overview`, so that nothing is.
"""

import json
import random
from datetime import datetime, timedelta, timezone

import pytest

from lake import Lake
from pipeline import Pipeline
from process import until

HOUR = 3_600_000
SPAN = 6 * HOUR  # of event time
USERS = 300
PARTITIONS = 4  # the last one stays empty
JUMPS = 2  # the partition whose clock jumps
PAGES = ["/", "/cart", "/search", "/product/1", "/product/2", "/help"]
# Each host dies there, at the given commit.
POINTS = ["after-record:2", "staged:2", "published:3", "before-record:2", "published-one:4", "offsets:2"]


def stamp(millis):
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=millis)).isoformat()


def event(user, session, at, arrives, chance):
    value = {"user_id": f"u{user}", "event_type": chance.choice(["click", "view"]), "timestamp": stamp(at),
             "page": chance.choice(PAGES), "session_id": session, "device": chance.choice(["mobile", "desktop"]),
             "location": chance.choice(["DE", "FR", "IT"])}
    return arrives, user % 3, json.dumps(value)


def events(chance, begin):
    """(arrival, partition, value) in the order of arrival."""
    made = []
    for user in range(USERS):
        at, session = begin + chance.randrange(HOUR), 0
        while at < begin + SPAN:
            # Most gaps are within a session, some split it, some come with another session's id.
            at += chance.choice([20_000, 60_000, 200_000, 900_000, 31 * 60_000, 45 * 60_000])
            at += chance.randrange(30_000)
            session += chance.random() < 0.05
            late = chance.random()
            delay = (5 * HOUR if late < 0.01 else chance.randrange(55 * 60_000) if late < 0.2 else
                     chance.randrange(2_000))
            made.append(event(user, f"s{user}-{session}", at, at + delay, chance))
            if late > 0.98:
                made.append((made[-1][0] + 1, *made[-1][1:]))
            if late > 0.99:
                made.append(event(user, f"future{user}-{session}", at + 10 * HOUR, at, chance))
    middle = begin + SPAN // 2
    made.append(event(JUMPS, "jump", middle + 8 * HOUR, middle + 8 * HOUR, chance))
    order = sorted((arrives if not "\"jump\"" in value else middle, partition, arrives, value)
                   for arrives, partition, value in made)
    return [(arrives, partition, value) for _, partition, arrives, value in order]


def send(producer, topic, batch):
    for arrives, partition, value in batch:
        producer.produce(topic, value, json.loads(value)["user_id"], partition, timestamp=arrives)
    assert producer.flush(30) == 0


@pytest.fixture(scope="module")
def windows(tidemill, kafka, tmp_path_factory):
    """A pipeline that has worked off the topic, killed six times on the way."""
    folder, name, chance = tmp_path_factory.mktemp("lake"), "windows", random.Random(11)
    ours = tidemill.with_transforms(folder / "transforms")
    # As it is shipped, late events count all the same, and their users once more: that is no plain SQL.
    hour = "[event-time]\nlateness = '1h'\n"
    (ours.transforms / "activity_per_minute.toml").write_text("[config]\nlate = 'reject'\n" + hour)
    (ours.transforms / "sessions.toml").write_text(hour)
    (ours.transforms / "overview.toml").write_text("[event-time]\nlateness = '48h'\n")
    pipeline = Pipeline(ours, name, name, Lake.within(folder), "--catalog", "local")
    kafka.create(name, partitions=PARTITIONS)
    begin = int(datetime.now(timezone.utc).timestamp() * 1000) - 24 * HOUR
    all_events, producer = events(chance, begin), kafka.producer()
    share = len(all_events) // (len(POINTS) + 1)
    piece = max(1, share // 12)
    for n, point in enumerate(POINTS):
        part = all_events[n * share:(n + 1) * share]
        host = pipeline.run(interval="300ms", failpoint=point)
        # In pieces, so that there are commits enough for each host to die.
        for at in range(0, len(part), piece):
            send(producer, name, part[at:at + piece])
            if not host.alive():
                break
            before = len(pipeline.slots())
            until(lambda: len(pipeline.slots()) > before or not host.alive(), 30, "a commit, or the end")
        send(producer, name, part[at + piece:])
        assert host.wait(30) == -9 and f"failpoint {point.split(':')[0]}" in host.stderr, (point, host.stderr[-2000:])
    send(producer, name, all_events[len(POINTS) * share:])
    # The end of time: whatever is open closes.
    last = begin + 23 * HOUR + HOUR // 2
    send(producer, name, [(last, p, json.dumps({"user_id": "end", "event_type": "end", "timestamp": stamp(last),
                                                "session_id": f"end{p}"})) for p in range(PARTITIONS - 1)])
    pipeline.until_end()
    db = pipeline.lake.open()
    db.sql(f"""create table event as
        select partition as p, "offset" as o, value->>'user_id' as u, value->>'session_id' as s, value->>'page' as page,
               coalesce(value->>'device', 'other') as device, value->>'location' as location,
               value->>'event_type' as kind, (value->>'timestamp')::timestamptz as t
        from (select partition, "offset", value::varchar::json as value from (
              select partition, "offset", decode(value) as value from {pipeline.raw}))""")
    db.sql("""create table late as select transform, partition as p, "offset" as o from rejected_events
              where reason = 'late'""")
    print(len(all_events), "events,", db.sql("select transform, count(*) from late group by all order by 1").fetchall(),
          "late,", db.sql("select count(*) from user_sessions").fetchall()[0][0], "sessions")
    return pipeline, kafka.ends(name), db


def test_every_event_is_there_once(windows):
    pipeline, ends, _ = windows
    assert ends[PARTITIONS - 1] == 0
    pipeline.exact(ends)
    pipeline.proven()


def test_event_time_never_goes_back_whoever_goes_on(windows):
    """Where a clock jumped, a host that began anew would begin at an earlier time."""
    reached, seen = {}, 0
    for record in windows[0].log():
        for advance in record.get("partitions", []):
            p, times = advance["partition"], {work["name"]: work["reached"] for work in advance.get("transforms", [])
                                              if "reached" in work}
            if advance.get("newest"):
                times["newest"] = advance["newest"]
            for what, at in times.items():
                assert at >= reached.get((p, what), at), (record["seq"], p, what)
                reached[p, what], seen = at, seen + 1
    assert seen > 50 and {what for _, what in reached} == {"newest", "activity_per_minute", "overview", "sessions"}


def test_rows_are_late_where_they_must_be_and_nowhere_else(windows):
    *_, db = windows
    counts = dict(db.sql("select transform, count(*) from late group by all").fetchall())
    assert set(counts) == {"activity_per_minute", "sessions"} and min(counts.values()) > 10, counts
    # Where no clock jumped, what came within the hour is never late.
    early = db.sql(f"""select count(*) from late join event using (p, o) join (
        select partition as p, "offset" as o, "timestamp" as arrived from {windows[0].raw}) using (p, o)
        where p != {JUMPS} and arrived - t < interval 1 hour""").fetchall()
    assert early == [(0,)]
    # After the jump all is late until time has caught up.
    assert db.sql(f"select count(*) from late where p = {JUMPS}").fetchall()[0][0] > 50


def test_minutes_are_what_sql_makes_of_the_raw_zone(windows):
    *_, db = windows
    found = db.sql("""select epoch_us(window_start), event_type, device, sum(events)::bigint, sum(users)::bigint,
                             sum(sessions)::bigint from user_activity_per_minute where event_type != 'end' group by all""").fetchall()
    expected = db.sql("""
        select epoch_us(time_bucket(interval 1 minute, t)), kind, device, count(*), count(distinct u), count(distinct s)
        from event anti join (from late where transform = 'activity_per_minute') l using (p, o)
        where kind != 'end' group by all""").fetchall()
    assert len(found) > 1000
    assert set(found) == set(expected), different(found, expected)


def test_sessions_are_what_sql_makes_of_the_raw_zone(windows):
    *_, db = windows
    found = db.sql("""select user_id, session_id, epoch_us(session_start), epoch_us(session_end), events, pages, device, location
                      from user_sessions where user_id != 'end'""").fetchall()
    expected = db.sql("""
        with ours as (from event anti join (from late where transform = 'sessions') l using (p, o)),
        begun as (select *, coalesce(t - lag(t) over w >= interval 30 minutes, true) as fresh from ours
                  window w as (partition by u, s order by t, o)),
        numbered as (select *, sum(fresh::int) over (partition by u, s order by t, o) as n from begun)
        select u, s, epoch_us(min(t)), epoch_us(max(t)), count(*), count(distinct page), arg_min(device, (t, o)), arg_min(location, (t, o))
        from numbered where u != 'end' group by u, s, n""").fetchall()
    assert len(found) > 300 and any(row[4] > 5 for row in found)
    assert len(set(found)) == len(found), "a session is there twice"
    assert set(found) == set(expected), different(found, expected)


def test_active_users_pages_and_locations_are_what_sql_makes_of_the_raw_zone(windows):
    *_, db = windows
    found = db.sql("""select epoch_us(window_start), period, sum(events)::bigint, sum(users)::bigint, sum(sessions)::bigint
                      from active_users group by all""").fetchall()
    # Users and sessions add up over partitions: those of the end have a partition each.
    expected = db.sql("""
        select start, period, sum(events)::bigint, sum(users)::bigint, sum(sessions)::bigint from (
            select epoch_us(date_trunc(period, t at time zone 'UTC')) as start, period, p,
                   count(*) as events, count(distinct u) as users, count(distinct s) as sessions
            from event, unnest(['minute', 'hour', 'day']) as lengths(period) group by all) group by all""").fetchall()
    assert len(found) > 300 and {period for _, period, *_ in found} == {"minute", "hour", "day"}
    assert set(found) == set(expected), different(found, expected)
    for table, column in [("user_pages_per_minute", "page"), ("user_locations_per_minute", "location")]:
        found = db.sql(f"select epoch_us(window_start), {column}, sum(events)::bigint from {table} group by all").fetchall()
        expected = db.sql(f"""select epoch_us(time_bucket(interval 1 minute, t)), coalesce({column}, 'unknown'), count(*)
                              from event group by all""").fetchall()
        assert set(found) == set(expected), different(found, expected)


def different(found, expected):
    more, less = set(found) - set(expected), set(expected) - set(found)
    return f"{len(more)} too many, {len(less)} missing: {sorted(map(str, more))[:4]} {sorted(map(str, less))[:4]}"
