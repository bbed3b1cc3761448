"""Bad events are rows of rejected_events with offset and reason, and never more than that."""

import json
import time
from ways import either_way  # noqa: F401

GOOD = {"user_id": "u1", "event_type": "click", "timestamp": "2025-12-02T10:00:00Z", "page": "/", "session_id": "s1",
        "device": "mobile", "location": "DE"}


def event(**changes):
    return json.dumps(GOOD | changes).encode()


def without(field):
    return json.dumps({k: v for k, v in GOOD.items() if k != field}).encode()


BAD = {
    "malformed": b'{"user_id": "u1", "event_type"',
    "not JSON at all": b"hello",
    "two values": event() + event(),
    "an array": b"[]",
    "null": b"null",
    "wrong type, number": event(user_id=5),
    "wrong type, object": event(event_type={"a": 1}),
    "wrong type, list": event(timestamp=[1, 2]),
    "wrong type, optional field": event(page=7),
    "invalid UTF-8": event(page="@").replace(b"@", b"\xff\xfe"),
    "lone surrogate": event(page="@").replace(b"@", rb"\ud800"),
    "10,000 deep, alone": b"[" * 10_000 + b"]" * 10_000,
    "10,000 deep, in a field": event(page="@").replace(b'"@"', b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    "5 MB in one field": event(page="x" * 5_000_000),
    "tombstone": None,
    "duplicate keys": event()[:-1] + b', "user_id": "u2"}',
    "byte order mark": b"\xef\xbb\xbf" + event(),
    "empty": b"",
    "blanks": b"  \n ",
    "no user_id": without("user_id"),
    "blank event_type": event(event_type=" "),
    "no timestamp": without("timestamp"),
    "no time": event(timestamp="yesterday"),
    "no such day": event(timestamp="2025-02-30T10:00:00Z"),
    "long ago": event(timestamp="1999-12-31T23:59:59Z"),
    "far ahead": event(timestamp="2999-01-01T00:00:00Z"),
}


def test_each_bad_event_is_rejected_alone(tidemill, kafka, disk, name):
    kafka.create(name, **{"max.message.bytes": "10000000"})
    producer = kafka.producer(**{"message.max.bytes": 10_000_000})
    sent = {}

    def send(what, value):
        def delivered(error, message):
            assert not error, error
            sent[message.partition(), message.offset()] = (what, value)
        producer.produce(name, value, key=b"k", partition=len(sent) % 3, headers={"h": b"\x00\xff"}, on_delivery=delivered)
        assert producer.flush(30) == 0

    for what, value in BAD.items():
        send("good", event(page=f"/before/{len(sent)}"))
        send(what, value)
    send("good", event(page="/last"))

    began = time.monotonic()
    host = tidemill.run(name, name, disk, "--catalog", "local", "--until-end")
    assert host.wait(60) == 0
    print(f"{len(sent)} events, {len(BAD)} of them bad, in {time.monotonic() - began:.1f} s")

    rejected = disk.rejected()
    for at, (reason, stage, value) in sorted(rejected.items()):
        print(f"{sent[at][0]:28} {stage}: {reason}")
    bad = {at: value for at, (what, value) in sent.items() if what != "good"}
    missed = sorted(sent[at][0] for at in bad.keys() - rejected.keys())
    wronged = sorted(at for at in rejected.keys() - bad.keys())
    assert not missed and not wronged
    assert all(reason.strip() and len(reason) < 500 for reason, _, _ in rejected.values())
    assert {at: value for at, (_, _, value) in rejected.items()} == bad

    good = disk.offsets("user_events")
    assert sorted(good) == sorted(at for at, (what, _) in sent.items() if what == "good")

    raw = disk.open().sql(f'select partition, "offset", key, value, headers from {name.replace("-", "_")}_raw').fetchall()
    assert {(p, o): value for p, o, _, value, _ in raw} == {at: value for at, (_, value) in sent.items()}
    assert len(raw) == len(sent)
    assert all(key == b"k" and headers == [{"name": "h", "value": b"\x00\xff"}] for _, _, key, _, headers in raw)


def test_every_codec_is_read(tidemill, kafka, disk, name):
    codecs = {"none", "gzip", "snappy", "lz4", "zstd"}
    kafka.create(name)
    for codec in sorted(codecs):
        producer = kafka.producer(**{"compression.type": codec})
        for i in range(300):
            producer.produce(name, event(page=f"/{codec}/{i}"), partition=i % 3)
        assert producer.flush(30) == 0
    assert kafka.codecs(name) == codecs, "the broker's disk must hold batches of every codec"

    host = tidemill.run(name, name, disk, "--catalog", "local", "--until-end")
    assert host.wait(60) == 0
    assert disk.rejected() == {}
    pages = disk.open().sql("select page from user_events").fetchall()
    assert sorted(pages) == sorted((f"/{codec}/{i}",) for codec in codecs for i in range(300))


def test_what_transactions_took_back_is_left_out(tidemill, kafka, disk, name):
    """Two producers at a time write into the same partitions; some of their transactions are aborted."""
    kafka.create(name)
    one, two = (kafka.producer(**{"transactional.id": f"{name}-{n}"}) for n in (1, 2))
    for producer in (one, two):
        producer.init_transactions(30)
    true = []
    for round in range(8):
        for producer in (one, two):
            producer.begin_transaction()
        for i in range(60):
            for who, producer in (("one", one), ("two", two)):
                producer.produce(name, event(page=f"/{who}/{round}/{i}"), partition=i % 3)
                if i % 10 == 9:
                    producer.flush(30)  # so that their batches lie between each other
        for who, producer in (("one", one), ("two", two)):
            if (round + (who == "two")) % 3 == 0:
                producer.abort_transaction(30)
            else:
                producer.commit_transaction(30)
                true += [f"/{who}/{round}/{i}" for i in range(60)]
    # A run ends where the last event is; a marker is none.
    plain = kafka.producer()
    for partition in range(3):
        plain.produce(name, event(page=f"/last/{partition}"), partition=partition)
    assert plain.flush(30) == 0
    assert 0 < len(true) < 16 * 60
    host = tidemill.run(name, name, disk, "--catalog", "local", "--until-end")
    assert host.wait(60) == 0
    pages = disk.open().sql("select page from user_events").fetchall()
    assert sorted(pages) == sorted((page,) for page in true + [f"/last/{n}" for n in range(3)])
