"""What merging brings: files, bytes and the time of queries before and after. Not part of the suite."""

import json
import time

from history import History, hours_ago, produce

QUERIES = {
    "one hour of user_events": "select event_type, count(*), count(distinct user_id) from user_events "
                               "where hour = (select min(hour) from user_events) group by all",
    "all of user_events": "select device, event_type, count(*), count(distinct user_id) from user_events group by all",
    "minutes": "select window_start::varchar, sum(events) from user_activity_per_minute group by all",
    "raw": "select partition, count(*), sum(octet_length(value)) from {raw} group by all",
}


def test_what_merging_brings(tidemill, kafka, disk, name):
    kafka.create(name)
    job = History(tidemill, name, name, disk, "--catalog", "local")
    host = job.run(interval="200ms")
    count = produce(kafka, name, 400_000, hours_ago(3), hours_ago(0), rate=8_000, ordered=True)
    host.stop(30)
    job.until_end()

    def look():
        db = job.read({"all": job("sql-view").stdout})
        times = {}
        for what, query in QUERIES.items():
            runs = []
            for _ in range(3):
                began = time.monotonic()
                db.sql(query.format(raw=job.raw)).fetchall()
                runs.append(time.monotonic() - began)
            times[what] = min(runs)
        return job.files(), times

    before, slow = look()
    began = time.monotonic()
    done = job("compact", "--closed-for", "0s", "--json", seconds=600)
    took = time.monotonic() - began
    assert done.code == 0, done.stderr[-2000:]
    hours = json.loads(done.stdout)["hours"]
    assert job.compact("--keep", "0s", seconds=300)["swept"]["files"]
    after, fast = look()
    rows, read = sum(h["rows"]["before"] for h in hours), sum(h["bytes"]["before"] for h in hours)
    print(f"\n{count} events; {len(hours)} hours of tables merged in {took:.1f} s: "
          f"{rows / took:,.0f} rows a second, {read / took / 1e6:.1f} MB a second; peak {done.rusage.ru_maxrss / 1024:.0f} MiB")
    for table in before:
        (files, size), (fewer, smaller) = before[table], after[table]
        print(f"| {table} | {files} → {fewer} | {size / 1e6:.1f} → {smaller / 1e6:.1f} MB |")
    for what in QUERIES:
        print(f"| {what} | {slow[what] * 1000:.0f} → {fast[what] * 1000:.0f} ms |")
    job.proven()
