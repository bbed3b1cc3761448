"""A pipeline whose past is rewritten: its lake is read through the views that `tidemill sql-view` keeps."""

import json
import random
import re
import time
from datetime import datetime, timedelta, timezone

import duckdb

from host import failing
from pipeline import Pipeline

HOUR = 3_600_000


def hours_ago(hours):
    """Milliseconds since 1970 of the beginning of an hour before this one."""
    return (int(time.time() * 1000) // HOUR - hours) * HOUR


def produce(kafka, topic, count, first, last, seed=7, done=lambda: False, rate=None, ordered=False,
            long=0):
    """Sends events whose Kafka timestamps lie in `first..last` (milliseconds), some of them bad; how many were sent.
    They are as late as can be, or in about the order of their times. One in `long` has a page of 5,000 characters."""
    producer, dice, begun = kafka.producer(), random.Random(seed), time.monotonic()
    for n in range(count):
        if done():
            count = n
            break
        at = dice.randrange(first, last)
        if ordered:
            at = min(max(first, first + (last - first) * n // count - dice.randrange(5_000)), last - 1)
        stamp = datetime.fromtimestamp(at / 1000, timezone.utc) + timedelta(0)
        event = {"user_id": f"user_{dice.randrange(500)}", "event_type": dice.choice(["click", "view", "buy"]),
                 "timestamp": stamp.isoformat(timespec="milliseconds") if n % 97 else "yesterday",
                 "page": "x" * 5_000 if long and n % long == 1 else f"/page/{dice.randrange(90)}", "session_id": f"s{dice.randrange(900)}",
                 "device": dice.choice(["mobile", "desktop", "toaster"]), "location": "here"}
        while True:
            try:
                producer.produce(topic, json.dumps(event), key=event["user_id"], timestamp=at)
                break
            except BufferError:
                producer.poll(0.1)
        if n % 500 == 0:
            producer.poll(0)
            if rate:
                time.sleep(max(0.0, begun + n / rate - time.monotonic()))
    assert producer.flush(60) == 0
    return count


def view_numbers(text):
    """The record that a view was made after."""
    return int(re.search(r"after record (\d+)", text)[1])


def pipelines(tidemill, kafka, buckets, disk, name, of=None):
    """Makes the pipeline of a test, with a topic of its own, on a disk or on S3 with Glue. `of` is its class."""
    def make(place, *flags):
        kafka.create(name)
        if place == "s3":
            return (of or History)(tidemill, name, name, buckets(name), "--catalog", "glue", "--database",
                                   name.replace("-", "_"), *flags)
        return (of or History)(tidemill, name, name, disk, "--catalog", "local", *flags)
    return make


class History(Pipeline):
    """Its tables are read as a user of DuckDB reads them: by the text of the views."""

    tables = "user_events", "rejected_events", "user_activity_per_minute"

    def views(self):
        """{table: the text of its view}, as it lies beside the log."""
        folder = self.lake.processed.path(f"_tidemill/{self.group}/views")
        return {path.stem: path.read_text() for path in folder.glob("*.sql")}

    def write_views(self):
        written = self("sql-view", "--write")
        assert written.code == 0, written.stderr[-2000:]

    def read(self, texts):
        """A DuckDB connection with these views. What lies on S3 is read from the gateway's folder."""
        db = duckdb.connect()
        db.execute("set TimeZone = 'UTC'; set threads = 2")
        for text in texts.values():
            for zone in self.lake.zones:
                text = text.replace(f"'{zone.url}/", f"'{zone.path('')}/".replace("//", "/"))
            db.execute(text)
        return db

    def content(self):
        """What all tables say, in some order, whatever files and rows of additive tables there are."""
        said = self("sql-view")
        assert said.code == 0, said.stderr[-2000:]
        db = self.read({"all": said.stdout})
        rows = lambda query: db.sql(f"select columns(*)::varchar from ({query}) order by all").fetchall()
        raw = f'select * exclude (date, hour, headers) from {self.raw}'
        return {
            self.raw: rows(raw),
            "user_events": rows("select * exclude (date, hour) from user_events"),
            "rejected_events": rows("select * exclude (date, hour, headers) from rejected_events"),
            "user_sessions": rows("select * exclude (date, hour) from user_sessions"),
            "minutes": rows("""select window_start, event_type, device, sum(events) from user_activity_per_minute
                               group by all"""),
        }

    def numbers(self, columns):
        """One row about the raw table."""
        return self.read({"all": self("sql-view").stdout}).sql(f"select {columns} from {self.raw}").fetchall()[0]

    def least(self, known):
        """{partition: offset} up to where all is visible after that record: what a record before was published when the
        next one of its partition was written."""
        least = {}
        for seq, path in self.slots().items():
            if seq <= known:
                for advance in json.loads(path.read_text()).get("partitions", []):
                    least[advance["partition"]] = max(advance["from"], least.get(advance["partition"], 0))
        return least

    def content_of(self, table, columns="* exclude (date, hour)"):
        """What one table says, in some order."""
        db = self.read({"all": self("sql-view").stdout})
        return db.sql(f"select columns(*)::varchar from (select {columns} from {table}) order by all").fetchall()

    def minutes_off(self):
        """Minutes whose counts are not those of the events, by plain SQL over them."""
        return self.read({"all": self("sql-view").stdout}).sql("""
            select count(*) from (
                select window_start, event_type, device, sum(events)::bigint as n from user_activity_per_minute group by all
            ) made full join (
                select time_bucket(interval '1 minute', timestamp) as window_start, event_type, device, count(*) as n
                from user_events group by all
            ) counted using (window_start, event_type, device) where made.n is distinct from counted.n""").fetchall()[0][0]

    def exact_by_views(self, ends):
        """Fails unless all that is in the topic is in the tables exactly once, as the views show them."""
        db = self.read({"all": self("sql-view").stdout})
        one = lambda query: db.sql(query).fetchall()[0]
        raw = one(f'select count(*), count(distinct (partition, "offset")) from {self.raw}')
        assert raw == (sum(ends.values()),) * 2, (raw, ends)
        good = one("select count(*), count(distinct (kafka_partition, kafka_offset)) from user_events")
        bad = one("""select count(*) from rejected_events where coalesce(transform, 'clean') = 'clean'""")
        assert good[0] == good[1] and good[0] + bad[0] == raw[0], (good, bad, raw)
        late = one("select count(*) from rejected_events where transform = 'activity_per_minute'")[0]
        assert one("select sum(events) from user_activity_per_minute")[0] + late == good[0]

    def json(self, command, *arguments, seconds=120):
        process = self(command, *arguments, "--json", seconds=seconds)
        assert process.code == 0, (process.code, process.stderr[-3000:])
        return json.loads(process.stdout)

    def compact(self, *arguments, **how):
        return self.json("compact", "--closed-for", "0s", *arguments, **how)

    def failing(self, points, command, *arguments):
        """Starts a command that is killed or held at points."""
        return self.tidemill(command, *arguments, "--topic", self.topic, "--group", self.group,
                             *self.lake.arguments(), *self.flags, binary=failing(), TIDEMILL_FAILPOINT=points)

    def killed(self, point, command, *arguments):
        """A command that dies there. It must come by."""
        process = self.failing(point, command, *arguments)
        assert process.wait(120) == -9, (point, process.code, process.stderr[-2000:])
        assert re.search(f"^failpoint {point.split(':')[0]}$", process.stderr, re.M), process.stderr[-2000:]

    def held(self, point, command, *arguments, then=None):
        """A command that stands still there, until SIGCONT. It must come by. `then` is where it dies."""
        process = self.failing(f"{point}=hold" + (f",{then}" if then else ""), command, *arguments)
        process.says(re.compile(f"^held at {point}$", re.M), 60)
        return process

    def kinds(self):
        return [record["kind"] for record in self.log()]

    def files(self):
        """{table: (files, bytes)} of all files of the tables that are there, of whatever generation."""
        found = {}
        for table, files in self.lake.files().items():
            sizes = [path.stat().st_size for path in files.values() if path.exists()]
            found[table] = len(sizes), sum(sizes)
        return found
