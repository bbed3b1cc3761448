"""terraform/: checked, planned, applied to moto, used by a host, and destroyed.

What needs nothing but Terraform: `tests/real.sh test_terraform.py -k "static"`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

import filters
from calls import Call
from cloud import Cloud
from deployment import AT, PROVIDER, Deployment, Site
from history import hours_ago, produce
from host import BINARY, failing
from policy import Policy
from process import until
from terraform import SOURCE, Terraform

COUNT = 3_000
KINDS = {"s3", "glue"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The modules, with neither an account nor a network."""
    return Terraform(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    cloud = Cloud(tmp_path_factory.mktemp("cloud"), hosts=2)
    yield cloud
    cloud.process.stop(30)


@pytest.fixture(scope="module")
def applying(kafka, cloud, tmp_path_factory):
    """An apply that is under way: the provider waits for most of a minute until it believes S3."""
    env = {"AWS_ACCESS_KEY_ID": "made-up", "AWS_SECRET_ACCESS_KEY": "made-up", "AWS_ENDPOINT_URL": cloud.url,
           "AWS_EC2_METADATA_DISABLED": "true"}
    return Deployment(Terraform(tmp_path_factory.mktemp("applied"), **env), cloud, kafka, f"tf-{os.getpid()}")


@pytest.fixture(scope="module")
def deployed(applying):
    return applying.applied()


@pytest.fixture(scope="module")
def site(deployed, tidemill, tmp_path_factory):
    """Where its hosts run, with the transforms that ship in the deployment's bucket."""
    folder = tmp_path_factory.mktemp("site")
    deployed.opened()

    def transforms(site):
        put = Bucket(deployed)
        for path in sorted(tidemill.transforms.glob("*.wasm")):
            put(path.name, path.read_bytes())
        return put

    site = Site(deployed, folder, transforms)
    yield site
    site.hosts.close()
    site.people.close()


def pulse(line):
    return filters.selected('{ $.message = "pulse" }', line)


class Bucket:
    def __init__(self, deployment):
        url = re.fullmatch(r"s3://([^/]+)/(.+)", deployment.environment["TIDEMILL_TRANSFORMS"])
        self.s3, (self.bucket, self.prefix) = deployment.cloud.s3, url.groups()

    def __call__(self, name, data):
        self.s3.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}", Body=data)


def test_apply_begins(applying):
    """First, since it waits for the longest time: the others do their work meanwhile."""
    assert applying.applying.alive() or applying.applying.code == 0


# --- static: needs Terraform alone ------------------------------------------------------------------------------------


def test_static_format_and_readmes(plain):
    plain("fmt", "-check", "-diff", "-recursive", seconds=30)
    checked = subprocess.run([sys.executable, SOURCE / "readme.py", "--check"], capture_output=True, text=True, timeout=30)
    print(checked.stdout)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_static_readmes_that_are_stale_are_found(tmp_path):
    shutil.copytree(SOURCE, tmp_path / "terraform", ignore=shutil.ignore_patterns(".terraform*"))
    path = tmp_path / "terraform" / "modules" / "lake" / "variables.tf"
    path.write_text(path.read_text().replace("default     = 104", "default     = 105"))
    checked = subprocess.run([sys.executable, tmp_path / "terraform" / "readme.py", "--check"], capture_output=True,
                             text=True, timeout=30)
    assert checked.returncode == 1 and "modules/lake/README.md" in checked.stdout, checked.stdout


@pytest.mark.parametrize("at", [".", "modules/lake", "modules/catalog", "modules/kafka", "modules/runtime",
                                "examples/minimal", "examples/complete"])
def test_static_valid(plain, at):
    plain.init(at=at)
    assert json.loads(plain("validate", "-json", at=at).stdout)["valid"]


def test_static_plans(plain):
    """terraform/tests: plan assertions with a mocked provider."""
    said = plain("test", "-no-color", seconds=200).stdout
    passed, failed = map(int, re.search(r"(\d+) passed, (\d+) failed", said).groups())
    print(f"terraform test: {passed} runs passed, {failed} failed")
    assert failed == 0 and passed == sum(len(re.findall(r"^run ", path.read_text(), re.M))
                                         for path in (SOURCE / "tests").glob("*.tftest.hcl"))


WRONG = [  # file, what stands there, what is put in its place, what the assertion says
    ("lake", 'prefix = "${rule.value}/"', 'prefix = ""', "it would take the commit log"),
    ("lake", "var.kafka_retention_days + 1", "1", "uploads must live longer than Kafka's retention"),
    ("runtime/iam", '"glue:UpdatePartition", "glue:UpdateTable"', '"glue:*"', "exactly the calls that it makes"),
    ("runtime/alarms", '"breaching"', '"ignore"', "hosts that say nothing are an alarm"),
]


def test_static_plans_that_are_wrong_are_found(plain):
    """Expired commit logs, uploads that die too soon, a right too many, an alarm less."""
    before = {}
    for file, right, wrong, _ in WRONG:
        path = plain.folder / "modules" / (f"{file}.tf" if "/" in file else f"{file}/main.tf")
        text = path.read_text()
        before.setdefault(path, text)
        assert right in text
        path.write_text(text.replace(right, wrong))
    try:
        ended = plain("test", "-no-color", *(f"-filter=tests/{name}.tftest.hcl" for name in ("lake", "root", "runtime")),
                      codes=(1,))
    finally:
        for path, text in before.items():
            path.write_text(text)
    said = " ".join((ended.stdout + ended.stderr).split())
    missed = [message for *_, message in WRONG if message not in said]
    assert not missed, missed


def test_static_filters():
    """The evaluation of patterns itself: what it must take, and what not."""
    pattern = '{ $.message = "pulse" && $.lag >= 0 }'
    line = {"timestamp": "2026-01-01T00:00:00Z", "level": "INFO", "message": "pulse", "lag": 3}
    assert filters.selected(pattern, json.dumps(line)) == line
    for other in ({**line, "message": "commit"}, {k: v for k, v in line.items() if k != "lag"}, {**line, "lag": "3"},
                  {**line, "lag": -1}, [line]):
        assert filters.selected(pattern, json.dumps(other)) is None, other
    assert filters.selected(pattern, "not JSON: pulse") is None


# --- applied to moto --------------------------------------------------------------------------------------------------


def test_a_second_plan_is_empty(deployed):
    print(re.search(r"Apply complete!.*", deployed.applying.stdout)[0], f"in {deployed.applying.seconds:.0f} s")
    plan = deployed.terraform("plan", "-detailed-exitcode", "-input=false", "-no-color", at=AT, codes=(0, 2))
    assert plan.code == 0, plan.stdout[-3000:]


def test_what_is_there(deployed):
    """Asked of the account itself, not of Terraform."""
    cloud, told, name = deployed.cloud, deployed.told, deployed.name
    rules = {}
    for bucket in (deployed.lake.raw.name, deployed.lake.processed.name):
        document = json.loads(cloud.s3.get_bucket_policy(Bucket=bucket)["Policy"])
        assert {"Bool": {"aws:SecureTransport": "false"}} in [s["Condition"] for s in document["Statement"]]
    for bucket in (deployed.lake.raw.name, deployed.lake.processed.name):
        assert all(cloud.s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
        assert cloud.s3.get_bucket_versioning(Bucket=bucket).get("Status") != "Enabled"
        for rule in cloud.s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]:
            prefix = rule["Filter"]["Prefix"]
            if "Expiration" in rule:
                rules[prefix] = rule["Expiration"]["Days"]
                assert prefix.endswith("/") and not "_tidemill/".startswith(prefix) and not prefix.startswith("_")
            else:
                assert rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 8
    print("expires:", rules)
    assert set(rules.values()) == {104} and {"user_events/", "rejected_events/"} < rules.keys()
    (group,) = cloud.logs.describe_log_groups(logGroupNamePrefix=told["log_group_name"])["logGroups"]
    assert group["retentionInDays"] == 90
    every = cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
    alarms = {a["AlarmName"]: a for a in every if not a["AlarmName"].startswith("TargetTracking-")}
    assert len(every) == len(alarms) + 2, "autoscaling has two of its own"
    assert set(alarms) == set(told["alarm_names"]) == {
        f"{name}-{alarm}" for alarm in ("commits", "freshness", "lag", "ready", "rejects", "silent")}
    assert all(alarm["AlarmActions"] == [told["alarm_topic_arn"]] for alarm in alarms.values())
    scaling = cloud.client("application-autoscaling")
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 3)
    assert deployed.container["readonlyRootFilesystem"] and deployed.container["command"] == ["run"]
    secrets = [secret["name"] for secret in deployed.container["secrets"]]
    assert secrets == ["TIDEMILL_HTTP_TOKEN"] and not deployed.environment.keys() & set(secrets)
    queries = cloud.client("athena").list_named_queries(WorkGroup=name)["NamedQueryIds"]
    print(f"{len(alarms)} alarms, {len(queries)} saved queries")
    assert len(queries) == len(told["views"]) == 4


def test_a_host_runs_with_what_was_made(site, deployed, kafka):
    """The container's command and environment, real Kafka, moto's S3 and Glue; DuckDB reads what came of it."""
    kafka.create(deployed.environment["TIDEMILL_TOPIC"])
    events = site.produce(COUNT)
    host = site.host()
    site.visible(events, host)
    pulses = lambda: [e for e in map(pulse, host.stderr.splitlines()) if e]
    # How fresh it was is known once it can be seen: that may be told a pulse later than the commit.
    until(lambda: any("freshness_seconds" in e for e in pulses()) and pulses()[-1]["lag"] == 0, 20,
          "a pulse that tells how fresh events were, and no lag", alive=[host])
    assert host.stop() == 0, host.stderr[-2000:]
    wrong = site.pipeline.exact(kafka.ends(site.pipeline.topic))
    database = deployed.environment["TIDEMILL_DATABASE"]
    tables = {t["Name"] for t in deployed.cloud.glue.get_tables(DatabaseName=database)["TableList"]}
    hours = deployed.cloud.partitions(database, "user_events")
    print(f"{events} events: {wrong}; in Glue {sorted(tables)}, {len(hours)} hours of user_events")
    assert {"user_events", "rejected_events", site.pipeline.raw} <= tables and hours
    site.first = host


def test_views_sum_the_increments(site, deployed):
    """The SQL that the module tells, over the tables that the host made: each key once, nothing lost."""
    for table, made in deployed.told["views"].items():
        db, paths = duckdb.connect(), [str(path) for path in deployed.lake.files()[table].values()]
        db.sql(f"create table {table} as from read_parquet({paths!r}, hive_partitioning = true)")
        db.sql(made)
        rows, events = db.sql(f"select count(*), sum(events) from {table}").fetchall()[0]
        summed, same = db.sql(f"select count(*), sum(events) from {table}_sums").fetchall()[0]
        keys = re.search(r"GROUP BY (.*)", made)[1]
        twice = db.sql(f"select {keys} from {table}_sums group by all having count(*) > 1").fetchall()
        print(f"{table}: {rows} rows of increments, {summed} in the view, {events} events")
        assert events == same and 0 < summed <= rows and not twice


def test_metrics_are_made_of_what_a_host_says(site, deployed):
    """Each metric filter, as it was applied, takes a value from the log of the run before; each alarm has its metric."""
    lines = site.first.stderr.splitlines()
    found = deployed.cloud.logs.describe_metric_filters(logGroupName=deployed.told["log_group_name"])["metricFilters"]
    published = {f["filterName"]: filters.values(f, lines) for f in found}
    for name, numbers in published.items():
        print(f"{name}: {len(numbers)} of {len(lines)} lines, last {numbers[-1] if numbers else None}")
    assert all(published.values()), [name for name, numbers in published.items() if not numbers]
    assert sum(published["Events"]) == sum(deployed.kafka.ends(site.pipeline.topic).values())
    assert sum(published["Rejected"]) == deployed.lake.count("rejected_events")
    assert published["Lag"][-1] == 0 and published["Ready"][-1] in (0, 1) and max(published["Partitions"]) == 3
    made = {(m["metricNamespace"], m["metricName"]) for f in found for m in f["metricTransformations"]}
    asked = set()
    for alarm in deployed.cloud.client("cloudwatch").describe_alarms(AlarmNamePrefix=deployed.name)["MetricAlarms"]:
        stats = [q["MetricStat"]["Metric"] for q in alarm.get("Metrics", []) if "MetricStat" in q] or [alarm]
        asked |= {(m["Namespace"], m["MetricName"]) for m in stats}
    assert asked <= made and len(asked) >= 6, asked - made


def test_minimal_can_be_planned(deployed):
    """The other example, in the default VPC of an account."""
    at, terraform = "examples/minimal", deployed.terraform
    (terraform.folder / at / "moto_override.tf").write_text(PROVIDER.split("\n  default_tags")[0] + "}\n")
    terraform.init(at=at)
    said = terraform("plan", "-input=false", "-no-color", "-var", "prefix=m", "-var", "image=tidemill:0.1.0", "-var",
                     'brokers=["127.0.0.1:9092"]', at=at).stdout
    planned = re.search(r"Plan: (\d+) to add, 0 to change, 0 to destroy", said)
    print(planned[0])
    assert int(planned[1]) > 40


# --- least privilege --------------------------------------------------------------------------------------------------


def meddle(deployed):
    """Somebody else drops a column of a table and moves its partitions."""
    database, glue = deployed.environment["TIDEMILL_DATABASE"], deployed.cloud.glue
    table = glue.get_table(DatabaseName=database, Name="user_events")["Table"]
    storage = table["StorageDescriptor"]
    storage["Columns"] = [c for c in storage["Columns"] if c["Name"] != "location"]
    glue.update_table(DatabaseName=database, TableInput={
        **{k: table[k] for k in ("Name", "TableType", "PartitionKeys", "Parameters")}, "StorageDescriptor": storage})
    for values in deployed.cloud.partitions(database, "user_events"):
        which = {"DatabaseName": database, "TableName": "user_events"}
        partition = glue.get_partition(**which, PartitionValues=list(values))["Partition"]
        moved = {**partition["StorageDescriptor"], "Location": "s3://somewhere/else"}
        glue.update_partition(**which, PartitionValueList=list(values),
                              PartitionInput={"Values": list(values), "StorageDescriptor": moved})


def put_right(deployed):
    database = deployed.environment["TIDEMILL_DATABASE"]
    table = deployed.cloud.glue.get_table(DatabaseName=database, Name="user_events")["Table"]
    return "location" in [c["Name"] for c in table["StorageDescriptor"]["Columns"]] and not any(
        "somewhere" in location for location in deployed.cloud.partitions(database, "user_events").values())


@pytest.fixture(scope="module")
def life(site, deployed, tidemill):
    """All that needs rights: hosts that start, die, are restarted, swap transforms, find tables that others changed; and
    people who run each command."""
    events = site.produce(COUNT, seed=8)
    dying = site("run", binary=failing(), TIDEMILL_FAILPOINT="staged", TIDEMILL_LIBRDKAFKA="session.timeout.ms=6000")
    assert dying.wait(60) == -9, dying.stderr[-2000:]
    # Its uploads are removed, and the next host, which cannot know how far that came, does it again (rule F4).
    removed = site.done("gc", "--older-than", "0s", "--apply").stdout
    assert "nothing to remove" not in removed, removed
    meddle(deployed)
    host = site.host(TIDEMILL_COMPACT="1s")
    site.visible(events, host, 90)
    until(lambda: put_right(deployed), 30, "column and partitions are put right", alive=[host])

    # A swap, the way people do it: it waits until the partitions commit with it, so there must be events.
    shutil.copy(tidemill.transforms / "clean.wasm", site.folder)
    (site.folder / "clean.toml").write_text("[config]\nmax_length = 20\n")
    deploying = site("deploy-transform", site.folder / "clean.wasm")
    deploying_began = lambda: "clean.toml" in " ".join(deployed.cloud.keys(deployed.environment["TIDEMILL_TRANSFORMS"]))
    until(deploying_began, 60, "the sidecar is in the bucket", alive=[host])
    events = site.produce(COUNT, seed=9)
    assert deploying.wait(90) == 0, deploying.stderr[-2000:]
    site.visible(events, host, 90)
    site.done("health")
    site.done("status")
    # Hours are merged and expire: a host tells the catalog of what others have done, and looks at what it shows.
    for seed in (1, 2):
        produce(deployed.kafka, site.pipeline.topic, 100, hours_ago(30), hours_ago(28), seed=seed)
        events += 100
        site.visible(events, host, 90)
    site.done("compact")
    site.done("retain", "--apply", "--retention-days", "1")
    upkeep = {"glue:GetPartitions", "glue:BatchDeletePartition"}
    until(lambda: upkeep <= {call.action for call in site.hosts.calls}, 60, "a host tells of expired hours", alive=[host])
    assert host.stop() == 0, host.stderr[-2000:]

    reasons = json.loads(site.done("rejects", "--json").stdout)["reasons"]
    replayed = site.done("rejects", "replay", "--reason", min(reasons, key=lambda r: r["rows"])["reason"])
    site.done("log")
    meddle(deployed)
    site.done("verify", "--repair", codes=(0, 1))
    verified = json.loads(site.done("verify", "--json").stdout)
    site.done("doctor", codes=(0, 1))
    site.done("deploy-transform", "--remove", "sessions", "--no-wait")
    print(f"verify: ok {verified['ok']}, {verified['events']} events, {verified['records']} records; {replayed.stdout[:200]}")
    assert verified["ok"] and verified["events"] == events
    return site


def compared(what, policy, calls, does_without=()):
    """`does_without`: what it asks for and may be refused."""
    calls = {call for call in calls if call.action not in does_without}
    print(f"{what}: {len(calls)} different calls of {sorted({c.action for c in calls})}")
    refused, unused = policy.refused(calls), policy.unused(calls)
    assert not refused, f"{what} needs what it may not do: {refused[:10]}"
    assert not unused, f"{what} may do what it never does: {unused}"


def test_a_host_has_the_rights_it_needs_and_no_others(deployed, life):
    compared("host", Policy(deployed.policies()[0]), life.hosts.calls)


def test_an_operator_has_the_rights_it_needs_and_no_others(deployed, life):
    compared("operator", Policy(deployed.policies()[1]), life.people.calls,
             # `doctor` tries it on the database that is there, and takes a no for an answer.
             does_without={"glue:CreateDatabase"})


def test_rights_too_few_and_too_many_are_found(deployed, life):
    """Each direction fails when it should: each right taken away, one added, and the log's keys."""
    hosts_calls = life.hosts.calls
    document = deployed.policies()[0]
    taken = 0
    for statement in document["Statement"]:
        for action in [a for a in statement["Action"] if statement["Effect"] == "Allow" and a.split(":")[0] in KINDS]:
            less = json.loads(json.dumps(document))
            less["Statement"][document["Statement"].index(statement)]["Action"].remove(action)
            assert Policy(less).refused(hosts_calls), f"without {action} nothing is missing"
            taken += 1
    more = json.loads(json.dumps(document))
    more["Statement"].append({"Effect": "Allow", "Action": ["glue:DeleteTable"], "Resource": ["arn:aws:glue:*:*:catalog"]})
    assert Policy(more).unused(hosts_calls) == ["glue:DeleteTable on arn:aws:glue:*:*:catalog"]
    slot = next(r for call in hosts_calls for r in call.resources if re.search(r"/log/\d{12}\.json$", r))
    policy = Policy(document)
    assert not policy.allows(Call("s3:DeleteObject", (slot,))) and not policy.allows(Call("s3:PutObject", (slot,)))
    assert policy.allows(Call("s3:PutObject", (slot,), (("s3:if-none-match", "*"),)))
    print(f"{taken} rights taken away one by one: each is missed")


def test_destroy_leaves_nothing(deployed, site):
    done = deployed.terraform("destroy", "-auto-approve", "-input=false", "-no-color", at=AT, seconds=120)
    print(re.search(r"Destroy complete!.*", done.stdout)[0], f"in {done.seconds:.0f} s")
    assert deployed.cloud.s3.list_buckets()["Buckets"] == []
    assert deployed.environment["TIDEMILL_DATABASE"] not in [d["Name"] for d in deployed.cloud.glue.get_databases()["DatabaseList"]]
    assert deployed.cloud.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
