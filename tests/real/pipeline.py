"""One pipeline: its hosts, and the commands that look at its log and its lake."""

import json
from dataclasses import dataclass


@dataclass
class Checked:
    """What `tidemill verify` found."""

    code: int
    findings: list
    records: int
    events: int
    files: int

    def names(self, *keys):
        """Whether there are findings, and each key is in one of them."""
        return self.code == 1 and all(any(key in finding["what"] for finding in self.findings) for key in keys)


class Pipeline:
    def __init__(self, tidemill, topic, group, lake, *flags):
        """`flags` are those that its hosts and all other commands are given, such as the catalog."""
        self.tidemill, self.topic, self.group, self.lake, self.flags = tidemill, topic, group, lake, flags
        self.raw = topic.replace("-", "_") + "_raw"

    def run(self, *arguments, **how):
        """Starts a host."""
        return self.tidemill.run(self.topic, self.group, self.lake, *self.flags, *arguments, **how)

    def until_end(self, *arguments, **how):
        """A host that works off what is in the topic; it must succeed."""
        host = self.run("--until-end", *arguments, **how)
        assert host.wait(60) == 0, host.stderr[-2000:]
        return host

    def __call__(self, command, *arguments, seconds=60):
        """`tidemill COMMAND ARGUMENTS` with the pipeline's flags, ended."""
        process = self.tidemill(command, *arguments, "--topic", self.topic, "--group", self.group,
                                *self.lake.arguments(), *self.flags)
        process.wait(seconds)
        return process

    def verify(self, *arguments):
        """The findings of `tidemill verify`: the same ones for machines as for people, and its exit code tells."""
        process = self("verify", *arguments, "--json")
        assert process.code in (0, 1) and process.stdout.strip(), (process.code, process.stderr[-2000:])
        said = json.loads(process.stdout)
        assert said["ok"] == (process.code == 0) and (said["ok"] or said["findings"]), said
        assert all(finding["kind"] and finding["what"] for finding in said["findings"]), said
        return Checked(process.code, said["findings"], said["records"], said["events"], said["files"])

    def proven(self):
        """Asks for the proof that log and lake agree, and fails with what is wrong."""
        checked = self.verify()
        assert checked.code == 0, f"{len(checked.findings)} findings: {checked.findings[:5]}"
        return checked

    def log(self, *arguments):
        """The records that `tidemill log` shows; without arguments all of them."""
        process = self("log", *(arguments or ("--last", 1_000_000)), "--json")
        assert process.code == 0, process.stderr[-2000:]
        return [json.loads(line) for line in process.stdout.splitlines()]

    @property
    def log_folder(self):
        return self.lake.processed.path(f"_tidemill/{self.group}/log")

    def slots(self):
        """{sequence: path} of the log's records, as they lie there now."""
        folder = self.log_folder
        return {int(p.stem): p for p in folder.iterdir() if p.suffix == ".json"} if folder.is_dir() else {}

    def partitions_after(self, sequence):
        """The partitions that went ahead in records after that one; read without this project's code."""
        records = [json.loads(path.read_text()) for seq, path in self.slots().items() if seq > sequence]
        return {a["partition"] for r in records for a in r.get("partitions", []) if a["to"] > a["from"]}

    def wrong(self, *ranges):
        """{what: how many} of all that differs from exactly the offsets of these (partition, from, to), each once."""
        db, one = self.lake.open(), lambda query: db.sql(query).fetchall()[0][0] or 0
        db.execute('create table range(p int, "from" bigint, "to" bigint)')
        db.executemany("insert into range values (?, ?, ?)", ranges)
        db.sql(f'create table raw as select partition as p, "offset" as o, count(*) as n from {self.raw} group by all')
        db.sql('create table wanted as select p, unnest(generate_series("from", "to" - 1)) as o from range')
        tables = {"user_events": "kafka_partition as p, kafka_offset as o",
                  # What `clean` took, and another transform refused, is good all the same.
                  "rejected_events": """case when coalesce(transform, 'clean') = 'clean' then partition end as p,
                                        "offset" as o"""}
        there = [f"select {columns} from {table}" for table, columns in tables.items() if table in self.lake.files()]
        db.sql(f"create table done as select p, o, count(*) as n from ({' union all '.join(there)}) "
               "where p is not null group by all")
        late = "select count(*) from rejected_events where transform = 'activity_per_minute'"
        late = late if "rejected_events" in self.lake.files() else "select 0"
        return {
            "lost": one("select count(*) from wanted anti join raw using (p, o)"),
            "twice": one("select sum(n - 1) from raw"),
            "never in the topic": one("select count(*) from raw anti join wanted using (p, o)"),
            "neither good nor rejected": one("select count(*) from raw anti join done using (p, o)"),
            "good or rejected twice": one("select sum(n - 1) from done"),
            "good or rejected but not raw": one("select count(*) from done anti join raw using (p, o)"),
            "minutes off by": one("select abs((select count(*) from user_events) - "
                                  f"(select sum(events) from user_activity_per_minute) - ({late}))"),
        }

    def exact(self, ends):
        """Fails unless all that is in the topic, up to its ends, is in the lake exactly once."""
        wrong = self.wrong(*((p, 0, end) for p, end in ends.items()))
        assert not any(wrong.values()), wrong
        return wrong
