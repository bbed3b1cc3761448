"""A catalog that throttles, breaks, forbids, loses its answers and its tables: discovery waits, data never do."""

import json
import re
from datetime import datetime, timezone

import pytest

from lake import folders
from pipeline import Pipeline
from process import until
from refusing import DROPPED, LOST, Refusing

HOURS = 30  # that each fault has to register
START = 1_750_000_000_000  # ms: the first of them
HOUR = 3_600_000


@pytest.fixture
def catalog(glue):
    catalog = Refusing(glue.port, "json")
    yield catalog
    catalog.close()


class Feed:
    """Events of hours that no event had before, so that there are partitions to register."""

    def __init__(self, kafka, topic):
        self.producer, self.topic, self.hours, self.events = kafka.producer(), topic, 0, 0

    def more(self):
        for n in range(HOURS):
            millis = START + self.hours * HOUR
            time = datetime.fromtimestamp(millis / 1000, timezone.utc).isoformat()
            event = json.dumps({"user_id": "one", "event_type": "view", "timestamp": time}) if n else "no event"
            self.producer.produce(self.topic, event.encode(), timestamp=millis)
            self.hours += 1
        assert self.producer.flush(10) == 0
        self.events += HOURS


def test_faults_of_the_catalog_never_hold_up_data(tidemill, kafka, buckets, glue, catalog, name):
    lake, database = buckets(name), name.replace("-", "_")
    pipeline = Pipeline(tidemill, name, name, lake, "--catalog", "glue", "--database", database)
    kafka.create(name)
    feed = Feed(kafka, name)
    feed.more()
    catalog.refuse("ThrottlingException")
    host = pipeline.run(env={"AWS_ENDPOINT_URL_GLUE": catalog.url})
    until(lambda: catalog.counts["ThrottlingException"] > 3, 60, "the start is throttled", alive=[host])
    catalog.passes()

    def shown():
        return database in glue.databases() and pipeline.raw in glue.tables(database) \
            and len(glue.partitions(database, pipeline.raw))

    def visible(why):
        until(lambda: lake.count(pipeline.raw) >= feed.events, 60, f"events are visible {why}", every=0.2, alive=[host])

    visible("after the start")
    until(lambda: shown() == feed.hours, 60, "the first partitions are shown", every=0.2, alive=[host])

    took = {}
    for fault, *actions in [
        ["ThrottlingException"], ["InternalServiceException"], [DROPPED], [LOST, "BatchCreatePartition"],
        ["AccessDeniedException", "BatchCreatePartition"],
    ]:
        before = catalog.counts[fault]
        catalog.refuse(fault, *actions)
        feed.more()
        visible(f"under {fault}")
        until(lambda: catalog.counts[fault] > before, 40, f"the catalog answers {fault}", alive=[host])
        catalog.passes()
        took[fault] = catalog.counts[fault] - before
    until(lambda: shown() == feed.hours, 40, "all partitions are shown after the faults", every=0.2, alive=[host])
    denied = rf"allow glue:BatchCreatePartition on arn:aws:glue:[\w-]+:\*:table/{database}/\w+"
    assert re.search(denied, host.stderr), host.stderr[-2000:]

    # Somebody drops the table; the host makes it again, and what it registers from then on is there.
    glue.client.delete_table(DatabaseName=database, Name=pipeline.raw)
    dropped, before = feed.hours, catalog.asked["CreateTable"]
    feed.more()
    visible("when the table was dropped")
    until(lambda: shown() == HOURS, 30, "the table is made again", every=0.2, alive=[host])
    assert catalog.asked["CreateTable"] > before

    ends = kafka.ends(name)
    assert host.stop(20) == 0
    repaired = pipeline.verify("--repair", "--transforms", tidemill.transforms)
    assert shown() == feed.hours, f"{dropped} hours were to come back"
    assert set(glue.partitions(database, pipeline.raw)) == folders(lake.files()[pipeline.raw])
    print(f"{took}; {feed.hours} hours of {sum(ends.values())} events; {len(repaired.findings)} findings at the repair; "
          f"{pipeline.exact(ends)}")
    assert pipeline.proven().events == sum(ends.values())


def test_a_start_without_permission_names_it(tidemill, kafka, buckets, catalog, name):
    kafka.create(name)
    catalog.refuse("AccessDeniedException", "CreateTable")
    host = tidemill.run(name, name, buckets(name), "--catalog", "glue", "--database", name.replace("-", "_"),
                        env={"AWS_ENDPOINT_URL_GLUE": catalog.url})
    assert host.wait(20) == 1
    resource = f"table/{name.replace('-', '_')}/"
    line = next(line for line in host.stderr.splitlines() if "glue:CreateTable" in line)
    print(line)
    assert resource in line and "access denied: allow" in line and catalog.counts["AccessDeniedException"] == 1


def test_projection_stands_in_the_table_and_survives_starts(tidemill, kafka, buckets, glue, name, tmp_path):
    """Athena finds hours by itself; what an operator set stays; switched off, it is off."""
    lake, database = buckets(name), name.replace("-", "_")
    settings = tmp_path / "tidemill.toml"
    kafka.create(name)
    feed = Feed(kafka, name)
    feed.more()
    pipeline = Pipeline(tidemill, name, name, lake, "--catalog", "glue", "--database", database)
    raw = pipeline.raw

    def start(text):
        settings.write_text(text)
        pipeline.until_end("--config", settings)
        table = glue.tables(database)[raw]
        return table["Parameters"], table["VersionId"]

    on, _ = start(f"[tables.{raw}]\nprojection = true\nprojection-days = 400\n")
    assert {key: value for key, value in on.items() if "projection" in key or "template" in key} == {
        "projection.enabled": "true", "projection.date.type": "date", "projection.date.format": "yyyy-MM-dd",
        "projection.date.range": "NOW-400DAYS,NOW+1DAYS", "projection.date.interval": "1",
        "projection.date.interval.unit": "DAYS", "projection.hour.type": "integer", "projection.hour.range": "0,23",
        "projection.hour.digits": "2",
        "storage.location.template": f"{lake.raw.url}/{raw}/date=${{date}}/hour=${{hour}}/"}
    template = on["storage.location.template"]
    partitions = glue.partitions(database, raw)
    assert len(partitions) == HOURS, "Spark needs them registered"
    for (date, hour), place in partitions.items():
        assert template.replace("${date}", date).replace("${hour}", hour) == place.rstrip("/") + "/"
    assert "projection.enabled" not in glue.tables(database)["rejected_events"]["Parameters"]

    table = glue.tables(database)[raw]
    table["Parameters"]["owned-by"] = "somebody"
    keep = ("Name", "TableType", "Parameters", "PartitionKeys", "StorageDescriptor")
    glue.client.update_table(DatabaseName=database, TableInput={key: table[key] for key in keep})
    version = glue.tables(database)[raw]["VersionId"]
    for _ in range(2):
        again = start(settings.read_text())
        assert again == ({**on, "owned-by": "somebody"}, version), "a start changes nothing"
    assert start("")[1] == version, "without the setting it stays as it is"
    off, _ = start(f"[tables.{raw}]\nprojection = false\n")
    assert off == {**on, "owned-by": "somebody", "projection.enabled": "false"}
    print(f"{len(on)} parameters, stable over starts; version {version}")
