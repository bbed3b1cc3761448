"""How old events are before readers can see them, measured from outside: a producer that keeps when Kafka had each
event, a look at the lake ten times a second, and the two put together. No word of a host is taken."""

import json
import os
import random
import threading
import time
from array import array
from collections import defaultdict
from datetime import datetime, timezone

import duckdb

PAGES, DEVICES, TYPES = ("/home", "/cart", "/help"), ("mobile", "desktop", "tablet"), ("login", "page_view", "click")
# A table in which an event ends, and the columns that name the event.
TABLES = {"user_events": ("kafka_partition", "kafka_offset"), "rejected_events": ("partition", '"offset"')}

MOST = 1_000  # events that are made in one go


class Load(threading.Thread):
    """A steady stream of events, one in a hundred of them bad. `acked[partition][offset]` is an event's timestamp in
    Kafka, and the moment at which Kafka had confirmed it, in seconds."""

    def __init__(self, kafka, topic, rate):
        super().__init__(daemon=True)
        self.topic, self.rate, self.sent, self.behind, self.error = topic, rate, 0, 0, None
        self.acked = defaultdict(dict)
        self._random, self._ends = random.Random(7), threading.Event()
        # A producer that is back soon after its broker: what is measured is the way behind Kafka.
        self._producer = kafka.producer(**{"linger.ms": 20, "enable.idempotence": True, "message.timeout.ms": 60_000,
                                           "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 250})
        self.start()

    def stop(self):
        """Ends the stream; returns when Kafka has all of it."""
        self._ends.set()
        self.join(90)
        assert not self.is_alive() and not self.error, self.error
        assert sum(map(len, self.acked.values())) == self.sent

    def run(self):
        try:
            began = time.monotonic()
            while not self._ends.is_set():
                due = int((time.monotonic() - began) * self.rate)
                self.behind = max(self.behind, due - self.sent)
                for _ in range(min(due - self.sent, MOST)):
                    key, value = self._event()
                    self._producer.produce(self.topic, value, key, on_delivery=self._delivered)
                    self.sent += 1
                self._producer.poll(0.01)
            if self._producer.flush(60):
                self.error = "Kafka did not take the last events"
        except Exception as e:  # for who asks: a thread's own end is silent
            self.error = e

    def _event(self):
        pick, user = self._random.choice, f"user-{self._random.randrange(500)}"
        stamp = datetime.now(timezone.utc).isoformat()
        bad = self._random.random() < 0.01
        return user, json.dumps({"user_id": None if bad else user, "event_type": pick(TYPES), "timestamp": stamp,
                                 "page": pick(PAGES), "device": pick(DEVICES), "session_id": f"s-{user}"})

    def _delivered(self, error, message):
        if error:
            self.error = error
        else:
            self.acked[message.partition()][message.offset()] = message.timestamp()[1] / 1000, time.time()


class Watch(threading.Thread):
    """Notes when each file of a lake on a disk can be seen by readers: the moment at which it was looked for and
    there, so a little late. What a time of the file would tell is when it was written, invisible."""

    EVERY = 0.1

    def __init__(self, lake):
        super().__init__(daemon=True)
        self.lake, self.seen, self.slowest, self.error = lake, {}, 0.0, None
        self._ends = threading.Event()
        self.start()

    def stop(self):
        self._ends.set()
        self.join(30)
        assert not self.is_alive() and not self.error, self.error

    def run(self):
        try:
            last = time.monotonic()
            while not self._ends.wait(self.EVERY):
                found = [path for table in TABLES for path in self._files(table)]
                now = time.time()
                for path in found:
                    self.seen.setdefault(path, now)
                self.slowest, last = max(self.slowest, time.monotonic() - last), time.monotonic()
        except Exception as e:
            self.error = e

    def _files(self, table, depth=2):
        """(table, path) of what lies under date=…/hour=…"""
        folders = [self.lake.processed.path(table)]
        for _ in range(depth):
            folders = [entry.path for folder in folders if os.path.isdir(folder) for entry in os.scandir(folder)]
        return [(table, entry.path) for folder in folders for entry in os.scandir(folder)
                if entry.name.endswith(".parquet")]

    def visible(self):
        """{partition: {offset: when}} of all events in the files that were seen."""
        when, db = defaultdict(dict), duckdb.connect()
        for table, columns in TABLES.items():
            paths = {path: at for (of, path), at in self.seen.items() if of == table}
            if paths:
                rows = db.sql(f"select filename, {', '.join(columns)} from read_parquet({list(paths)!r}, "
                              "hive_partitioning = false, filename = true)").fetchall()
                for path, partition, offset in rows:
                    assert offset not in when[partition], f"{offset} of {partition} was made visible twice"
                    when[partition][offset] = paths[path]
        return when


class Freshness:
    """For each second of a stretch of time: the greatest age that an event had in it which Kafka had confirmed and no
    reader could see, in the table of good events or among the rejects. The age begins with the event's timestamp in
    Kafka, so that what it waits for a broker counts too, unless that time is left out as `away`: (from, to)."""

    def __init__(self, acked, visible, begins, ends, away=()):
        self.begins, length = int(begins) + 1, int(ends) - int(begins) - 1
        self.oldest = array("d", [0.0]) * length
        self.events = 0
        for partition, events in acked.items():
            seen = visible[partition]
            for offset, (stamp, confirmed) in events.items():
                self.events += 1
                there = seen[offset]  # a missing event is an error, not an old one
                first, last = int(min(confirmed, there)) - self.begins, int(there) - self.begins
                for second in range(max(first, 0), min(last, length - 1) + 1):
                    now = min(there, self.begins + second + 1)
                    age = now - stamp - sum(max(0, min(now, to) - max(stamp, at)) for at, to in away)
                    if age > self.oldest[second]:
                        self.oldest[second] = age

    def over(self, bound):
        """The seconds in which an event was older than that, as moments."""
        return [self.begins + second for second, age in enumerate(self.oldest) if age > bound]

    def share(self, bound):
        """The share of seconds in which none was."""
        return 1 - len(self.over(bound)) / len(self.oldest)

    def worst(self):
        """(when, age)"""
        age = max(self.oldest)
        return self.begins + self.oldest.index(age), age

    def median(self):
        return sorted(self.oldest)[len(self.oldest) // 2]
