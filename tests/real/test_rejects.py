"""Rejected events are counted, shown and sent back through the transforms, exactly once, whenever that is killed."""

import json

import pytest

from host import failing
from pipeline import Pipeline

COUNT = 3_000
LONG = "is too long"


@pytest.fixture(scope="module")
def topic(tidemill, kafka):
    assert tidemill.produce("rejects", COUNT).wait(30) == 0
    return "rejects"


class Job(Pipeline):
    """A pipeline with transforms of its own, whose `clean` refuses nearly all events because of its sidecar."""

    def __init__(self, tidemill, topic, group, lake, folder, *flags):
        ours = tidemill.with_transforms(folder)
        self.sidecar = folder / "clean.toml"
        self.sidecar.write_text("[config]\nmax_length = 12\n")
        super().__init__(ours, topic, group, lake, *flags)

    def better(self):
        """The sidecar goes, and a host makes that known."""
        self.sidecar.unlink()
        self.until_end()
        assert [r["kind"] for r in self.log()].count("transforms") == 2

    def rejects(self, *arguments):
        process = self("rejects", *arguments, "--json")
        assert process.code == 0, (process.code, process.stderr[-2000:])
        return json.loads(process.stdout)

    def reasons(self):
        return {r["reason"] for r in self.rejects("--reason", LONG)["reasons"]}

    def replay(self, *arguments):
        """What `replay` says of each reason that is to go."""
        return [self.rejects("replay", "--reason", reason, *arguments) for reason in sorted(self.reasons())]

    def replay_until(self, point):
        """A replay that is killed there."""
        if point == "published-one":
            # What a host wrote last is published before: so the first file of the replay comes after those.
            last = max((r for r in self.log() if r["kind"] == "epoch"), key=lambda r: r["seq"])
            assert {a["partition"] for a in last["partitions"]} == {0, 1, 2}, "one record has all partitions"
            point = f"published-one:{len(last['files']) + 1}"
        reason = max(self.rejects("--reason", LONG)["reasons"], key=lambda r: r["rows"])["reason"]
        killed = self.tidemill("rejects", "replay", "--reason", reason, "--topic", self.topic, "--group", self.group,
                               *self.lake.arguments(), *self.flags, binary=failing(), TIDEMILL_FAILPOINT=point)
        assert killed.wait(60) == -9 and f"failpoint {point.split(':')[0]}" in killed.stderr, killed.stderr[-2000:]

    def tables(self):
        """All rows of the tables in some order, and the sums of each minute."""
        db = self.lake.open()
        rows = lambda query: db.sql(f"select columns(*)::varchar from ({query}) order by all").fetchall()
        return {
            "user_events": rows("select * exclude filename from user_events"),
            "rejected_events": rows("select * exclude (filename, digest) from rejected_events"),
            "minutes": rows("""select window_start, event_type, device, sum(events)
                               from user_activity_per_minute group by all"""),
        }


@pytest.fixture
def jobs(tidemill, buckets, disk, name, tmp_path, topic):
    def make(place):
        if place == "s3":
            flags = "--catalog", "glue", "--database", name.replace("-", "_")
            return Job(tidemill, topic, name, buckets(name), tmp_path / "transforms", *flags)
        return Job(tidemill, topic, name, disk, tmp_path / "transforms", "--catalog", "local")
    return make


@pytest.fixture(scope="module")
def wanted(tidemill, buckets, topic, tmp_path_factory):
    """The tables of a pipeline that never had the sidecar."""
    job = Job(tidemill, topic, "never-refused", buckets("never-refused"), tmp_path_factory.mktemp("t") / "t", "--catalog", "none")
    job.sidecar.unlink()
    job.until_end()
    return job.tables()


def done(job, kafka, wanted):
    """The lake is as if nothing had been refused, and there is nothing more to send back."""
    job.exact(kafka.ends(job.topic))
    assert job.proven().events == COUNT
    assert job.tables() == wanted
    assert not job.reasons()


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_refused_events_go_back_once(jobs, kafka, wanted, place):
    job = jobs(place)
    job.until_end()
    refused = job.lake.rejected()
    counted = job.rejects("--samples", "2")
    shown = job("rejects", "--samples", "2")
    print(shown.stdout)
    assert counted["rows"] == len(refused) and shown.code == 0
    for group in counted["reasons"]:
        assert group["rows"] == sum(reason == group["reason"] for reason, *_ in refused.values())
        assert len(group["samples"]) == min(2, group["rows"]) and group["reason"] in shown.stdout
        for sample in group["samples"]:
            reason, stage, _ = refused[sample["partition"], sample["offset"]]
            assert (reason, stage) == (group["reason"], group["stage"])
    job.better()

    before = job.lake.files(), job.log()
    dry = job.replay("--dry-run")
    assert (job.lake.files(), job.log()) == before, "it was to change nothing"
    said = job.replay()
    assert [{**s, "records": [], "dry_run": True} for s in said] == dry
    print(*said, sep="\n")
    assert sum(s["rows"] for s in said) == sum(LONG in reason for reason, *_ in refused.values())
    assert all(s["records"] and not s["left"] for s in said)
    for s in said:
        print(job("log", s["records"][0]).stdout)
        assert job.rejects("replay", "--reason", s["reason"])["rows"] == 0
    done(job, kafka, wanted)
    job.until_end()
    done(job, kafka, wanted)


@pytest.mark.parametrize("place", ["disk", "s3"])
@pytest.mark.parametrize("point", ["replay-staged", "replay-record", "published-one"])
@pytest.mark.parametrize("then", ["a host", "a replay"])
def test_a_replay_that_is_killed_is_whole_or_nothing(jobs, kafka, wanted, place, point, then):
    job = jobs(place)
    job.until_end()
    job.better()
    before = job.tables() if "user_events" in job.lake.files() else None
    job.replay_until(point)
    kinds = [r["kind"] for r in job.log()]
    assert ("replay" in kinds) == (point != "replay-staged")
    left = [key for zone in job.lake.zones for key in zone.unfinished()]
    assert left or point == "published-one", "something was to be left behind"
    if point == "replay-staged":
        assert before is None or job.tables() == before
        listing = job("gc", "--older-than", "0s")
        assert all(key.rsplit("/", 1)[1] in listing.stdout for key in left), listing.stdout
        job.proven()
    else:
        removed = job("gc", "--older-than", "0s", "--apply")
        assert removed.code == 0 and "nothing to remove" in removed.stdout, "they belong to a record"
        checked = job.verify()
        assert point == "published-one" or checked.code == 1
    if then == "a host":
        job.until_end()
        job.proven()
    job.replay()
    if point == "replay-staged":
        assert job("gc", "--older-than", "0s", "--apply").code == 0
    assert [zone.unfinished() for zone in job.lake.zones] == [[], []]
    done(job, kafka, wanted)
