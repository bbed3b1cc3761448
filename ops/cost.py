#!/usr/bin/env python3
"""What a day costs: prints the tables of docs/scaling.md, or, with --check FILE, whether they stand in it.

Everything that goes in is a constant below, with where it comes from; docs/scaling.md has the sources.
"""

import math
import sys

DAY = 86_400
GB = 1e9

# Prices of us-east-1 in dollars. docs/scaling.md says which were found and which are from memory.
PUT, GET = 0.005 / 1000, 0.0004 / 1000  # S3: PUT, POST, LIST; GET, HEAD
STORED = 0.023  # S3 Standard, a GB and month
VCPU_HOUR, GB_HOUR = 0.04048, 0.004445  # Fargate, Linux on x86
DPU_HOUR, LEAST_DPU = 0.44, 2  # Glue
FIREHOSE, FIREHOSE_MSK = 0.029, 0.055  # a GB taken in: by PutRecord, from MSK
CONVERT, PARTITION = 0.018, 0.020  # a GB: to Parquet; dynamic partitioning

# The work.
EVENT = 168  # bytes of an event, JSON
KEPT = 40  # bytes of an event in Parquet: raw 20, cleaned about as much
RETENTION = 90  # days
TABLES = 4  # that a lane writes to at each commit: raw, rejected, two of transforms
STATEFUL = 3  # transforms with a state, of the four that ship
CPU = 5e-6  # seconds of an event in a host, all four transforms: see docs/scaling.md
SPARK_CPU = 18.4e-6  # … in Spark, a job of less
BUSY = 0.6  # of a processor that is paid for, how much is used
PART = 8 << 20  # bytes of a part of a file

# Hosts, partitions and lanes of a host, where there are more hosts than one log carries.
SHARDED = 16, 64, 2
# events/s: hosts, vCPUs and GB of each, partitions
SIZES = {1_000: (2, 0.5, 1, 6), 100_000: (2, 1, 2, 12), 1_000_000: (3, 4, 8, 24)}


def requests(rate, interval):
    """Requests a day: (PUT and POST, GET and HEAD)."""
    hosts, vcpus, _, partitions = SIZES[rate]
    commits = hosts * DAY / interval
    files = max(1, math.floor(vcpus)) * TABLES
    parts = math.ceil(rate / hosts * interval * KEPT / files / PART)
    states = partitions / hosts * STATEFUL
    # A file is begun, sent and completed. GET of the tail, and of what the other hosts wrote.
    put = commits * (files * (2 + parts) + states + 1)
    get = commits * (files + 1 + hosts - 1)
    # Each 100 records, a summary and a list of the files of each table.
    return put + commits / 100 * (TABLES + 1), get


def sharded(logs, interval):
    """Requests a day of many hosts with several logs, and the logs to which a host commits."""
    hosts, partitions, lanes = SHARDED
    mine = partitions // hosts
    # The group gives a host any partitions: how many of the logs have one among them, on average.
    without = math.comb(partitions - partitions // logs, mine) / math.comb(partitions, mine)
    each = logs * (1 - without)
    files = (lanes if logs == 1 else each) * TABLES
    commits = hosts * each * DAY / interval
    put = hosts * DAY / interval * (files * 3 + mine * STATEFUL) + commits
    # GET of a log's tail, and of what other hosts wrote to it.
    get = hosts * DAY / interval * files + commits * (hosts * each / logs)
    return put + commits / 100 * (TABLES + 1), get, each


def tidemill(rate, interval):
    hosts, vcpus, memory, _ = SIZES[rate]
    assert hosts * vcpus * BUSY >= rate * CPU, f"{rate}: too few processors"
    put, get = requests(rate, interval)
    return hosts * 24 * (vcpus * VCPU_HOUR + memory * GB_HOUR), put * PUT + get * GET


def glue(rate):
    return max(LEAST_DPU, math.ceil(rate * SPARK_CPU / BUSY / 4)) * 24 * DPU_HOUR


def firehose(rate, price, step):
    """The first tier: beyond 500 TB a month a GB costs less. Objects of dynamic partitioning are left out."""
    taken = rate * DAY * math.ceil(EVENT / step) * step / GB
    return taken * (price + CONVERT) + rate * DAY * EVENT / GB * PARTITION


def dollars(value):
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def tables():
    yield "| events/s | interval | hosts | PUT, POST a day | GET, HEAD a day | requests | processors and memory | Tidemill a day |"
    yield "| --: | --- | --- | --: | --: | --: | --: | --: |"
    for rate, (hosts, vcpus, memory, partitions) in SIZES.items():
        for interval in (1, 5):
            put, get = requests(rate, interval)
            machine, asked = tidemill(rate, interval)
            yield (
                f"| {rate:,} | {interval} s | {hosts} × {vcpus} vCPU, {memory} GB; {partitions} partitions | {put:,.0f} "
                f"| {get:,.0f} | {dollars(asked)} $ | {dollars(machine)} $ | {dollars(asked + machine)} $ |"
            )
    yield ""
    yield "| logs | interval | a host commits to | PUT, POST a day | GET, HEAD a day | requests |"
    yield "| --: | --- | --: | --: | --: | --: |"
    for logs, interval in ((1, 5), (64, 5), (32, 1), (64, 1)):
        put, get, each = sharded(logs, interval)
        asked = put * PUT + get * GET
        yield f"| {logs} | {interval} s | {each:.1f} logs | {put:,.0f} | {get:,.0f} | {dollars(asked)} $ |"
    yield ""
    yield "| events/s | Tidemill, 5 s | Glue streaming | Firehose from MSK | Firehose, PutRecord | storage after 90 days, for all |"
    yield "| --: | --: | --: | --: | --: | --: |"
    for rate in SIZES:
        stored = rate * DAY * KEPT / GB * RETENTION * STORED / 30
        yield (
            f"| {rate:,} | {dollars(sum(tidemill(rate, 5)))} $ | {dollars(glue(rate))} $ "
            f"| {dollars(firehose(rate, FIREHOSE_MSK, 1))} $ | {dollars(firehose(rate, FIREHOSE, 5 * 1024))} $ "
            f"| {dollars(stored)} $ |"
        )


def main():
    if sys.argv[1:2] != ["--check"]:
        print("\n".join(tables()))
        return 0
    with open(sys.argv[2], encoding="utf-8") as page:
        lines = page.read().splitlines()
    missing = [line for line in tables() if line not in lines]
    for line in missing:
        print(f"{sys.argv[2]} lacks a line that cost.py prints: paste them anew:\n{line}", file=sys.stderr)
    return 1 if missing else 0


sys.exit(main())
