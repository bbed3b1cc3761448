"""The rows of one person go out of the lake, beside a stream and its readers, and whenever that is killed."""

import hashlib
import json
import os
import signal
import subprocess
import threading
import time
from collections import defaultdict
from datetime import datetime, timezone

import duckdb
import pytest

from history import History, hours_ago, pipelines, produce
from host import BINARY
from process import until

HOURS = 3
POINTS = ["published-one", "erase-merged", "flip-staged", "flip-record", "flip-published", "erase-told", "erase-told:2"]
# The long form kills at each point on S3, too.
LONG = os.environ.get("TIDEMILL_TEST_ERASE") == "long"


@pytest.fixture
def job(tidemill, kafka, buckets, disk, name):
    return pipelines(tidemill, kafka, buckets, disk, name, of=Erasure)


class Erasure(History):
    """Knows the events of each person, as Kafka numbered them."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.events = defaultdict(set)

    def send(self, kafka, who, count, keyed=0, first=HOURS, last=0):
        """Events of a person, written in all ways in which JSON can; the last ones have them in their keys alone."""
        producer, noted = kafka.producer(), self.events[who]
        for n in range(count):
            at = hours_ago(first) + n * (first - last) * 3_600_000 // count
            stamp = datetime.fromtimestamp(at / 1000, timezone.utc).isoformat(timespec="milliseconds")
            name = json.dumps(who, ensure_ascii=n % 2 == 0)
            if n % 3 == 0:
                name = '"' + "".join(f"\\u{ord(letter):04x}" for letter in who) + '"'
            event = json.dumps({"user_id": "WHO", "event_type": "view", "timestamp": stamp if n % 5 else "yesterday",
                                "page": "/page/1", "session_id": f"s-{n // 4}", "device": "mobile"})
            value = event.replace('"WHO"', '"someone"' if n >= count - keyed else name)
            producer.produce(self.topic, value.encode(), key=who if n >= count - keyed else "k", timestamp=at,
                             on_delivery=lambda error, message: noted.add((message.partition(), message.offset())))
        assert producer.flush(60) == 0

    def asked(self, who, *arguments, field="user_id"):
        """The arguments that take a person out; the value is in no command line."""
        file = self.tidemill.folder / f"who-{time.monotonic_ns()}"
        file.write_text(who + "\n")
        return "--where", field, "--value-file", file, *arguments

    def erase(self, who, *arguments, field="user_id"):
        process = self("erase", *self.asked(who, *arguments, field=field), "--json", seconds=120)
        assert process.code == 0, (process.code, process.stdout, process.stderr[-3000:])
        assert who not in process.stdout + process.stderr
        return json.loads(process.stdout)

    def others(self, *gone):
        """What all tables say of others than these, of whom nothing is to be there. Aggregates name nobody."""
        content = self.content()
        events = {f"{partition} {offset}" for who in gone for partition, offset in self.events[who]}
        of = {self.raw: lambda row: f"{row[1]} {row[2]}", "rejected_events": lambda row: f"{row[1]} {row[2]}",
              "user_events": lambda row: f"{row[-2]} {row[-1]}"}
        for table, event in of.items():
            content[table] = [row for row in content[table] if event(row) not in events]
        content["user_sessions"] = [row for row in content["user_sessions"] if not set(gone) & set(row)]
        return content

    def rows_of(self, path, table, who):
        """Rows of a file that are of a person, by what stands in it."""
        events = ", ".join(str(event) for event in self.events[who])
        by = {self.raw: f'(partition, "offset") in ({events})', "rejected_events": f'(partition, "offset") in ({events})',
              "user_events": f"(kafka_partition, kafka_offset) in ({events})", "user_sessions": f"user_id = '{who}'"}
        if table not in by:
            return 0
        return duckdb.sql(f"select count(*) from read_parquet('{path}') where {by[table]}").fetchall()[0][0]

    def traces(self, who):
        """Where something of a person is still to be found: data files by their rows, the rest by its bytes."""
        found = [key for table, files in self.lake.files().items() for key, path in files.items()
                 if self.rows_of(path, table, who)]
        hidden = [(zone, key) for zone in self.lake.zones for key in zone.keys() if key.startswith("_")]
        letters = who.encode(), "".join(f"\\u{ord(letter):04x}" for letter in who).encode()
        return found + [key for zone, key in hidden if any(text in zone.path(key).read_bytes() for text in letters)]


def taken(done):
    return {table["table"]: table["rows"] for table in done["tables"]}


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_a_person_is_gone_and_nobody_else(job, kafka, place):
    job, ada, bob = job(place), "zoë.adams 4711", "bob.brown.4712"
    # Alone in an hour.
    job.send(kafka, ada, 3, first=HOURS + 4, last=HOURS + 3)
    for round in range(2):
        job.send(kafka, ada, 40, keyed=4 if round else 0)
        job.send(kafka, bob, 30)
        produce(kafka, job.topic, 1_500, hours_ago(HOURS), hours_ago(0), seed=round, ordered=True)
        job.until_end()
        if round == 0:
            # Merged files have rows of them, too, and so have those that wait for a sweep.
            job.compact("--table", job.raw, "--table", "user_events")
    before, files, checked = job.others(ada), job.files(), job.proven()
    wanted = {table: len(rows) - len(before[table]) for table, rows in job.content().items() if table != "minutes"}
    assert wanted[job.raw] == 83 and wanted["user_events"] == 66 and wanted["rejected_events"] >= 16, wanted
    assert wanted["user_sessions"] > 0, wanted

    dry = job.erase(ada, "--key", "--dry-run")
    found = taken(dry)
    assert {table: found[table] for table in wanted} == wanted, dry
    assert not dry["undone"] and dry["events"] == 83, dry
    assert any("user_activity_per_minute" in why for why in dry["left"])
    assert job.files() == files and "erase" not in job.kinds()
    some = job.erase(ada, "--key", "--dry-run", "--until", datetime.fromtimestamp(
        hours_ago(HOURS - 1) / 1000, timezone.utc).strftime("%Y-%m-%dT%H"))
    assert 3 < taken(some)[job.raw] < 83

    done = job.erase(ada, "--key")
    print(json.dumps(done, indent=1), job("erase", *job.asked(ada)).stdout)
    assert taken(done) == found and not done["undone"] and not done["untold"] and done["kept"]["records"] > 0
    assert job.content() == before
    assert job.proven().events == checked.events
    # The log says how many rows went, and of whom only to those who know it.
    records = [record for record in job.log() if record["kind"] == "erase"]
    assert {record["seq"] for record in records} == {seq for table in done["tables"] for seq in table["records"]}
    assert sum(record["erased"]["rows"] for record in records) == sum(found.values())
    told = records[0]["erased"]
    assert hashlib.sha256((told["salt"] + ada).encode()).hexdigest() == told["hash"] == done["hash"]
    assert "rows of one user_id are gone" in job("log", records[0]["seq"]).stdout
    # Again there is nothing to do.
    again = job.erase(ada, "--key")
    assert not any(taken(again).values()) and again["events"] == 0, again

    # By a pointer, which names no column: only what stems from single events can be told.
    by_events = job.erase(bob, field="/user_id")
    gone = taken(by_events)
    assert gone[job.raw] == 60 and gone["user_events"] == 48 and gone["rejected_events"] >= 12, gone
    assert any("user_sessions" in why for why in by_events["left"])
    assert taken(job.erase(bob))["user_sessions"] > 0

    # The files that held them go.
    assert job.traces(ada), "readers may need them for an hour"
    assert not job.json("erase", "--sweep")["swept"]["files"]
    # Transforms remember open sessions: these come out, and go. What they remembered is left to clean-up here, since
    # each host commits once.
    for seed in range(2):
        produce(kafka, job.topic, 300, hours_ago(0), hours_ago(-1), seed=7 + seed, ordered=True)
        job.until_end()
    assert job("gc", "--older-than", "0s", "--apply").code == 0
    closed = [taken(job.erase(who))["user_sessions"] for who in (ada, bob)]
    print("sessions that were open:", closed)
    swept = job.json("erase", "--sweep", "--keep", "0s")
    assert swept["swept"]["files"] > 0 and swept["left"] == 0, swept
    assert job.traces(ada) == [] and job.traces(bob) == []
    assert job.proven().events == checked.events + 600
    assert [zone.unfinished() for zone in job.lake.zones] == [[], []]


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_an_erasure_that_is_killed_is_done_again(job, kafka, place):
    """A person for each point; the next command finds what is left, and the last one sweeps."""
    job, points = job(place), POINTS if place == "disk" or LONG else ["flip-record", "erase-told"]
    people = [f"person.{n}.quux" for n, _ in enumerate(points)]
    produce(kafka, job.topic, 1_000, hours_ago(HOURS), hours_ago(0), seed=1)
    for who in people:
        job.send(kafka, who, 20)
    job.until_end()
    before = job.others(*people)
    for point, who in zip(points, people):
        kinds = job.kinds()
        if point == "published-one":
            # Whoever begins publishes what hosts wrote last once more.
            last = max((r for r in job.log() if r["kind"] == "epoch"), key=lambda r: r["seq"])
            point = f"published-one:{len(last['files']) + 1}"
        job.killed(point, "erase", *job.asked(who))
        told = job.kinds()[len(kinds):]
        assert set(told) == (set() if point in ("erase-merged", "flip-staged") else {"erase"}), (point, told)
        rest = job.erase(who)
        assert sum(len(table["records"]) for table in rest["tables"]) > 0, (point, rest)
        assert not any(taken(job.erase(who, "--dry-run")).values()), point
    assert job("gc", "--older-than", "0s", "--apply").code == 0
    assert [zone.unfinished() for zone in job.lake.zones] == [[], []]
    assert job.content() == before
    job.proven()
    job.killed("removed-one", "erase", "--sweep", "--keep", "0s")
    job.erase(people[0], "--keep", "0s")
    assert [key for who in people for key in job.traces(who) if not key.startswith("_")] == []
    assert job.content() == before
    job.proven()


def test_people_go_beside_a_stream_into_the_same_hours(job, kafka):
    job = job("disk")
    people = [f"person.{n}.quux" for n in range(4)]
    produce(kafka, job.topic, 20_000, hours_ago(HOURS), hours_ago(0), seed=1)
    for who in people:
        job.send(kafka, who, 10)
    job.until_end()
    before = job.others(*people)
    host, stop, sent = job.run(interval="200ms"), threading.Event(), []
    stream = threading.Thread(target=lambda: sent.append(produce(
        kafka, job.topic, 10**9, hours_ago(HOURS), hours_ago(0), seed=11, done=stop.is_set, rate=2_000)))
    stream.start()
    try:
        until(lambda: len(job.slots()) > 12, 30, "the host commits", alive=[host])
        # Files come while an hour is rewritten: they are carried. It is killed there, once.
        asked = job.asked(people[0], "--table", "user_events", "--table", job.raw)
        erasing = job.held("erase-merged", "erase", *asked, then="erase-carried")
        known = len(job.slots())
        until(lambda: len(job.slots()) > known + 2, 30, "the host commits", alive=[host])
        erasing.signal(signal.SIGCONT)
        assert erasing.wait(60) == -9 and "failpoint erase-carried" in erasing.stderr, erasing.stderr[-2000:]
        gone = people[:3]
        for who in gone:
            assert not job.erase(who, "--keep", "5s")["undone"]
    finally:
        stop.set()
        stream.join()
    assert host.alive()
    host.stop(30)
    job.until_end()
    content = job.others(*set(people) - set(gone))
    assert len(content[job.raw]) == len(before[job.raw]) + sent[0]
    assert set(before["user_events"]) <= set(content["user_events"])
    assert len(set(content["user_events"])) == len(content["user_events"])
    print(f"{sent[0]} events streamed, {job.kinds().count('erase')} hours rewritten")
    job.json("erase", "--sweep", "--keep", "0s")
    job("gc", "--older-than", "0s", "--apply")
    assert [key for who in gone for key in job.traces(who) if not key.startswith("_")] == []
    job.proven()


def test_verify_sees_what_is_wrong_with_an_erasure(job, kafka):
    job, who = job("disk"), "person.quux"
    produce(kafka, job.topic, 500, hours_ago(HOURS), hours_ago(0), seed=1)
    job.send(kafka, who, 20)
    job.until_end()
    job.erase(who)
    job.proven()
    record = next(r for r in job.log() if r["kind"] == "erase" and r["flips"][0]["table"] == job.raw)
    slot = job.slots()[record["seq"]]
    text = slot.read_text()
    # More rows went than it says.
    record["erased"]["rows"] -= 1
    slot.write_text(json.dumps(record) + "\n")
    found = job.verify().findings
    assert [f["kind"] for f in found] == ["counts"] and "gone for good" in found[0]["what"], found
    slot.write_text(text)
    job.proven()
    # Another event in the place of one, in a file of the same size: only the sum of events tells.
    record["erased"]["rows"] += 1
    record["erased"]["print"] = record["erased"]["print"][::-1]
    slot.write_text(json.dumps(record) + "\n")
    found = job.verify().findings
    assert [f["kind"] for f in found] == ["offsets"], found
    slot.write_text(text)
    job.proven()


def test_what_is_asked_wrongly_is_refused_without_the_value(job, kafka):
    job, who = job("disk"), "hush.4713"
    produce(kafka, job.topic, 200, hours_ago(HOURS), hours_ago(0), seed=1)
    job.send(kafka, who, 5)
    # One that is no JSON stays, and is said.
    producer = kafka.producer()
    producer.produce(job.topic, f'{{"user_id": "{who}"'.encode(), timestamp=hours_ago(1))
    assert producer.flush(30) == 0
    job.until_end()
    for arguments in (["--where", who], ["--where", f"={who}"], ["--where", "user_id="], [],
                      ["--where", f"user_id={who}", "--sweep"], ["--where", f"user_id={who}", "--table", "nothing"],
                      ["--where", f"user_id={who}", "--value-file", "/nowhere"], ["--where", "user_id", "--value-file", "/nowhere"],
                      ["--where", f"user_id={who}", "--since", "yesterday"]):
        process = job("erase", *arguments)
        assert process.code == 2 and "rror" in process.stderr, (arguments, process.code, process.stderr)
        assert who not in process.stderr + process.stdout, arguments
    arguments = [BINARY, "erase", "--where", "user_id=-", "--topic", job.topic, "--group", job.group,
                 *job.lake.arguments(), *job.flags, "--transforms", job.tidemill.transforms]
    done = subprocess.run(arguments, input=who, env={k: str(v) for k, v in job.tidemill.env.items()},
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "events are no JSON and have the value in them: they stay" in done.stdout and who not in done.stdout
    assert len([row for row in job.content()[job.raw] if who in str(row)]) == 1
    job.proven()
