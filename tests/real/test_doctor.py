"""`tidemill doctor` on real components: all well, and each fault that it is made for, with what to do about it."""

import http.server
import json
import os
import re
import socket
import struct
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from kafka import SASL_PASSWORD, SASL_USER
from process import free_port, until
from proxy import Proxy

ZONE = ["reachable", "clock", "bucket", "write", "read", "list", "create if absent", "race of two", "delete",
        "multipart", "lifecycle"]
GLUE = ["GetDatabase", "CreateDatabase", "GetTable", "DeleteTable", "CreateTable", "UpdateTable",
        "BatchCreatePartition", "BatchGetPartition", "UpdatePartition", "GetPartitions", "clean-up"]


class Doctor:
    """Runs `tidemill doctor` for one pipeline; gives its exit code and its steps by (area, name)."""

    def __init__(self, tidemill, arguments):
        self.tidemill, self.http = tidemill, f"127.0.0.1:{free_port()}"
        self.arguments = [*arguments, "--http", self.http]

    def __call__(self, *arguments, **env):
        began = time.monotonic()
        # A flag can be given once: what a test says stands instead.
        usual = dict(zip(self.arguments[::2], self.arguments[1::2]))
        usual = [part for flag, value in usual.items() if flag not in arguments for part in (flag, value)]
        asked = self.tidemill("doctor", *usual, "--json", *arguments, **env)
        code = asked.wait(90)
        self.took, self.asked = time.monotonic() - began, asked
        answer = json.loads(asked.stdout)
        assert answer["ok"] == (code == 0)
        for step in answer["steps"]:
            assert step["ok"] == {"ok": True, "warning": True, "failed": False, "skipped": None}[step["state"]], step
            assert (step["remedy"] is None) == (step["state"] in ("ok", "skipped")), step
        self.steps = {(step["area"], step["name"]): step for step in answer["steps"]}
        assert len(self.steps) == len(answer["steps"]), "a step is there twice"
        return code

    def wrong(self):
        """What is not well, without what was only skipped."""
        return {at: step["state"] for at, step in self.steps.items() if step["state"] in ("warning", "failed")}

    def only(self, area, name, state="failed"):
        """That nothing else is wrong; gives what was found and the remedy."""
        assert self.wrong() == {(area, name): state}, self.told()
        return self.one(area, name)

    def one(self, area, name):
        step = self.steps[area, name]
        print(f"{step['state']} {area}: {name}: {step['found']} -> {step['remedy']}")
        return step["found"], step["remedy"]

    def told(self):
        return "\n".join(f"{s['state']:8} {a}: {n}: {s['found']} -> {s['remedy']}" for (a, n), s in self.steps.items())


@pytest.fixture
def on_aws(tidemill, kafka, buckets, glue, name):
    """A topic, two buckets and a database: all that a host needs. Gives the lake and its doctor."""
    kafka.create(name)
    lake = buckets(name)
    database = name.replace("-", "_")
    glue.client.create_database(DatabaseInput={"Name": database})
    return lake, Doctor(tidemill, ["--brokers", kafka.brokers, "--topic", name, "--group", name, *lake.arguments(),
                                   "--database", database, "--transforms", tidemill.transforms])


@pytest.fixture
def on_disk(tidemill, kafka, disk, name):
    """The same with two folders; the lake, and its doctor."""
    kafka.create(name)
    return disk, Doctor(tidemill, ["--brokers", kafka.brokers, "--topic", name, "--group", name, *disk.arguments(),
                                   "--transforms", tidemill.transforms])


def test_all_is_well_and_nothing_is_left_behind(on_aws, tidemill, glue, name):
    lake, doctor = on_aws
    assert tidemill.produce(name, 1_000).wait(60) == 0
    code = doctor()
    print(doctor.told(), f"\n{doctor.took:.1f} s")
    assert code == 0 and doctor.wrong() == {}
    assert {step["state"] for step in doctor.steps.values()} == {"ok"}
    for zone in "raw", "processed":
        assert [n for area, n in doctor.steps if area == zone] == ZONE
    assert [n for area, n in doctor.steps if area == "catalog"] == GLUE
    assert "3 partitions" in doctor.steps["brokers", "topic"]["found"]
    assert [zone.keys() + zone.unfinished() for zone in lake.zones] == [[], []]
    assert glue.tables(name.replace("-", "_")) == {}


def test_all_is_well_on_a_disk_for_people(on_disk):
    lake, doctor = on_disk
    asked = doctor.tidemill("doctor", *doctor.arguments)
    assert asked.wait(60) == 0, asked.stdout + asked.stderr
    print(asked.stdout)
    lines = asked.stdout.splitlines()
    titles = [line for line in lines if line and not line.startswith(" ")]
    assert titles[:-1] == ["configuration", "brokers", "raw", "processed", "catalog", "transforms", "machine", "host"]
    assert re.fullmatch(r"\d+ well, 0 warnings, 0 failed, 0 skipped; .*", titles[-1])
    assert all(line.startswith("  ✓ ") for line in lines if line.startswith(" "))
    assert "\x1b" not in asked.stdout
    for zone in lake.zones:
        assert list(zone.root.rglob("*")) == [], "folders that were made are removed"


def test_a_running_host_is_found_and_does_not_notice(on_disk, tidemill, kafka, name, tmp_path_factory):
    lake, doctor = on_disk
    host = tidemill.run(name, name, lake, "--catalog", "local", "--http", doctor.http)
    all_three = lambda: doctor("--only", "host") == 0 and "3 partitions" in doctor.steps["host", "running"]["found"]
    until(all_three, 60, "it has its partitions", every=0.5, alive=[host])
    before = kafka.members(name)
    assert doctor("--only", "brokers,host,zones") == 0, doctor.told()
    assert f"process {host.pid}, 3 partitions" in doctor.one("host", "running")[0]
    assert doctor.one("brokers", "members")[0] == "1 host is in it"
    assert doctor.one("host", "http")[0] == f"{doctor.http} is served by the host that runs (process {host.pid})"
    assert kafka.members(name) == before and host.alive()
    assert host.stop(10) == 0
    assert "rebalance" not in host.stderr and host.stderr.count("partitions assigned") == 1


def test_nothing_listens(on_disk):
    _, doctor = on_disk
    port = free_port()
    assert doctor("--brokers", f"127.0.0.1:{port}") == 1
    found, remedy = doctor.only("brokers", "reachable")
    assert f"nothing listens on port {port}" in found and "--brokers" in remedy
    skipped = [step["found"] for (area, _), step in doctor.steps.items() if area == "brokers"][1:]
    assert set(skipped) == {"skipped: `reachable` did not pass"} and len(skipped) == 8


def test_one_of_two_brokers_is_a_warning(on_disk, kafka):
    _, doctor = on_disk
    assert doctor("--brokers", f"127.0.0.1:{free_port()},{kafka.brokers}") == 0
    found, _ = doctor.only("brokers", "reachable", "warning")
    assert "nothing listens" in found and kafka.brokers in found


def test_something_else_than_kafka_listens(on_disk):
    _, doctor = on_disk
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert doctor("--brokers", f"127.0.0.1:{server.server_port}") == 1
    finally:
        server.shutdown()
        server.server_close()
    found, remedy = doctor.only("brokers", "speaks kafka")
    assert f"(process {os.getpid()}) does not speak Kafka" in found and "--brokers" in remedy
    assert 'it answered "' in found


def test_a_topic_that_is_missing_is_named_with_the_one_that_was_meant(on_disk, name):
    _, doctor = on_disk
    assert doctor("--topic", f"{name}x") == 1
    found, remedy = doctor.only("brokers", "topic")
    assert f"topic {name}x does not exist" in found and f"did you mean {name}?" in found
    assert f"tidemill produce --brokers {doctor.arguments[1]} --topic {name}x --count 1" in remedy


class Elsewhere:
    """A broker that sends its clients to another port: between client and Kafka, one port is exchanged for another."""

    def __init__(self, upstream, other):
        self.upstream = upstream
        address = b"127.0.0.1"
        self.told, self.tells = (address + struct.pack(">i", port) for port in (upstream, other))
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            broker = socket.create_connection(("127.0.0.1", self.upstream))
            for here, there in ((client, broker), (broker, client)):
                threading.Thread(target=self.pump, args=(here, there), daemon=True).start()

    def pump(self, here, there):
        try:
            while piece := here.recv(65536):
                there.sendall(piece.replace(self.told, self.tells))
            there.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.server.close()


def test_a_broker_that_sends_clients_elsewhere(on_disk, kafka):
    _, doctor = on_disk
    other = free_port()
    elsewhere = Elsewhere(kafka.port, other)
    try:
        assert doctor("--brokers", f"127.0.0.1:{elsewhere.port}") == 1
    finally:
        elsewhere.close()
    found, remedy = doctor.only("brokers", "advertised")
    assert f"sends clients to 127.0.0.1:{other}" in found and "advertised.listeners" in remedy
    assert doctor.steps["brokers", "topic"]["state"] == "ok", "that needs no other broker"
    assert doctor.steps["brokers", "group"]["state"] == "skipped"


def test_tls_and_no_tls_are_told_apart(on_disk, kafka):
    _, doctor = on_disk
    assert doctor("--brokers", kafka.tls_brokers) == 1
    found, remedy = doctor.only("brokers", "speaks kafka")
    assert "speaks TLS" in found and "security.protocol=SSL" in remedy
    assert doctor("-X", "security.protocol=SSL") == 1
    found, remedy = doctor.only("brokers", "speaks kafka")
    assert "without TLS" in found and "leave out" in remedy
    assert doctor("--brokers", kafka.tls_brokers, "-X", "security.protocol=SSL") == 1
    found, remedy = doctor.only("brokers", "answers")
    assert "certificate is not trusted" in found and "ssl.ca.location" in remedy
    assert doctor("--brokers", kafka.tls_brokers, "-X", "security.protocol=SSL", "-X", f"ssl.ca.location={kafka.ca}",
                  "--only", "brokers") == 0, doctor.told()
    # Its name in the certificate is 127.0.0.1; librdkafka does not say that this is what is wrong.
    port = kafka.tls_brokers.split(":")[1]
    assert doctor("--brokers", f"localhost:{port}", "-X", "security.protocol=SSL", "-X", f"ssl.ca.location={kafka.ca}",
                  "--only", "brokers") == 1
    found, remedy = doctor.only("brokers", "answers")
    assert found.startswith("TLS") and "another name" in remedy


SASL = ["-X", "security.protocol=SASL_PLAINTEXT", "-X", "sasl.mechanism=PLAIN", "-X", f"sasl.username={SASL_USER}"]


def test_sasl_is_told_apart_and_no_secret_is_said(on_disk, kafka):
    _, doctor = on_disk
    at = ["--only", "brokers", "--brokers", kafka.sasl_brokers]
    assert doctor(*at, *SASL, "-X", f"sasl.password={SASL_PASSWORD}") == 0, doctor.told()
    assert doctor(*at) == 1
    found, remedy = doctor.only("brokers", "answers")
    assert "SASL" in found and "security.protocol=SASL_PLAINTEXT" in remedy
    secret = "hunter22-is-secret"
    assert doctor(*at, *SASL, TIDEMILL_LIBRDKAFKA=f"sasl.password={secret}") == 1
    found, remedy = doctor.only("brokers", "answers")
    assert found.startswith("SASL") and "credentials" in found and "sasl.password" in remedy
    assert secret not in doctor.asked.stdout + doctor.asked.stderr
    assert doctor(*at, *SASL[:2], "-X", "sasl.mechanism=SCRAM-SHA-512", *SASL[4:], "-X", "sasl.password=x") == 1
    found, remedy = doctor.only("brokers", "answers")
    assert "SCRAM-SHA-512" in found and "sasl.mechanism" in remedy


@pytest.mark.parametrize("kind", ["group", "topic"])
def test_a_right_that_kafka_denies_is_named(on_disk, kafka, name, kind):
    _, doctor = on_disk
    resource = {"group": ResourceType.GROUP, "topic": ResourceType.TOPIC}[kind]
    # Whoever may do something to a resource keeps everybody else out of it.
    acl = AclBinding(resource, name, ResourcePatternType.LITERAL, "User:somebody-else", "*", AclOperation.READ,
                     AclPermissionType.ALLOW)
    for future in kafka.admin.create_acls([acl]).values():
        future.result(30)
    assert doctor("--only", "brokers", "--brokers", kafka.sasl_brokers, *SASL,
                  "-X", f"sasl.password={SASL_PASSWORD}") == 1
    found, remedy = doctor.only("brokers", kind)
    assert "uthoriz" in found and f"--allow-principal User:{SASL_USER}" in remedy and f"--{kind} {name}" in remedy


def test_a_bucket_that_is_missing_is_named_and_the_rest_is_tried(on_aws, s3):
    lake, doctor = on_aws
    s3.client.delete_bucket(Bucket=lake.raw.name)
    assert doctor() == 1
    found, remedy = doctor.only("raw", "bucket")
    assert f"bucket {lake.raw.name} does not exist" in found
    assert f"s3 mb s3://{lake.raw.name}" in remedy and "`raw`" in remedy
    assert doctor.steps["raw", "write"]["found"] == "skipped: `bucket` did not pass"
    assert doctor.steps["processed", "delete"]["state"] == "ok"


def test_wrong_credentials_are_told_apart_from_rights(on_aws):
    _, doctor = on_aws
    assert doctor("--only", "zones", AWS_SECRET_ACCESS_KEY="wrong-and-secret") == 1
    found, remedy = doctor.one("raw", "bucket")
    assert "credentials" in found and "AWS_SECRET_ACCESS_KEY" in remedy
    assert "wrong-and-secret" not in doctor.asked.stdout + doctor.asked.stderr
    assert doctor("--only", "zones", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="") == 1
    found, remedy = doctor.only("aws", "credentials")
    assert "no AWS credentials" in found and "AWS_PROFILE" in remedy
    assert doctor.steps["raw", "reachable"]["found"] == "skipped: `credentials` did not pass"


class Changed(Proxy):
    """Passes everything on; `change(request, answer)` makes of the server's answer what the client sees."""

    def __init__(self, upstream, change):
        self.change = change
        super().__init__(upstream, seed=0)

    def forward(self, request, body):
        answer = super().forward(request, body)
        changed = answer and self.change(request, answer)
        if changed != answer:
            self._count("changed", "other")
        return changed


@pytest.fixture
def changed():
    proxies = []

    def make(upstream, change):
        proxies.append(Changed(upstream, change))
        return proxies[-1]
    yield make
    for proxy in proxies:
        proxy.close()


def test_a_store_that_ignores_create_if_absent_is_found_out(on_aws, s3, changed):
    _, doctor = on_aws

    def ignores(request, answer):
        if "If-None-Match" in request.headers and answer[0] == 412:
            return 200, "OK", [("ETag", '"0"')], b""
        return answer
    proxy = changed(s3.port, ignores)
    assert doctor(AWS_ENDPOINT_URL_S3=proxy.url) == 1
    assert proxy.counts["changed"] >= 4
    assert doctor.wrong() == {(zone, step): "failed" for zone in ("raw", "processed")
                              for step in ("create if absent", "race of two")}, doctor.told()
    found, remedy = doctor.one("processed", "create if absent")
    assert "If-None-Match" in found and "conditional writes" in remedy
    assert "both win" in doctor.one("raw", "race of two")[0]


def test_a_right_that_s3_denies_is_named(on_aws, s3, changed):
    lake, doctor = on_aws

    def denies(request, answer):
        # However the client deletes: one object, or a list of them.
        if request.command == "DELETE" and "uploadId" not in request.path or "?delete" in request.path:
            return 403, "Forbidden", [], (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>"
                                          b"<Message>Access Denied.</Message></Error>")
        return answer
    assert doctor("--only", "zones", AWS_ENDPOINT_URL_S3=changed(s3.port, denies).url) == 1
    found, remedy = doctor.one("raw", "delete")
    assert "s3:DeleteObject is denied" in found and f"allow s3:DeleteObject on arn:aws:s3:::{lake.raw.name}/*" in remedy
    assert doctor.steps["raw", "write"]["state"] == "ok"


@pytest.mark.parametrize("seconds,state", [(-10, "warning"), (60, "warning"), (1200, "failed"), (0, None)])
def test_a_clock_that_is_off_is_told_of(on_aws, s3, changed, seconds, state):
    _, doctor = on_aws

    def off(request, answer):
        status, reason, headers, body = answer
        now = datetime.now(timezone.utc)
        told = [parsedate_to_datetime(value) for name, value in headers if name.lower() == "date"]
        assert not told or abs(told[0] - now) < timedelta(seconds=5)
        kept = [(name, value) for name, value in headers if name.lower() != "date"]
        date = format_datetime(now + timedelta(seconds=seconds), usegmt=True)
        return status, reason, [*kept, ("Date", date)], body
    code = doctor("--only", "zones", AWS_ENDPOINT_URL_S3=changed(s3.port, off).url)
    assert code == (state == "failed")
    assert doctor.wrong() == ({(zone, "clock"): state for zone in ("raw", "processed")} if state else {})
    if state:
        found, remedy = doctor.one("raw", "clock")
        off_by = int(re.search(r"clock is (\d+) s", found)[1])
        assert abs(off_by - abs(seconds)) <= 2 and ("behind" if seconds > 0 else "ahead of") in found
        assert "NTP" in remedy


def test_lifecycle_rules_that_are_in_the_way(on_aws, s3, kafka, name, changed):
    lake, doctor = on_aws
    rules = """<LifecycleConfiguration><Rule><ID>tidy</ID><Filter/><Status>Enabled</Status>
        <AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>
        </Rule>{}</LifecycleConfiguration>"""
    expires = """<Rule><ID>old</ID><Filter><Prefix>_tidemill/</Prefix></Filter><Status>Enabled</Status>
        <Expiration><Days>90</Days></Expiration></Rule>"""

    def shows(request, answer):
        if "?lifecycle" in request.path:
            with_more = expires if lake.raw.name in request.path else ""
            return 200, "OK", [], rules.format(with_more).encode()
        return answer
    kafka.create(f"{name}-week", **{"retention.ms": str(7 * 86_400_000)})
    doctor("--topic", f"{name}-week", AWS_ENDPOINT_URL_S3=changed(s3.port, shows).url)
    assert doctor.wrong() == {("raw", "lifecycle"): "failed", ("processed", "lifecycle"): "warning"}, doctor.told()
    assert "_tidemill/" in doctor.one("raw", "lifecycle")[0]
    found, remedy = doctor.one("processed", "lifecycle")
    assert "after 1 day," in found and "7d" in found and "Kafka's retention" in remedy


RIGHTS = [right for right in GLUE if right not in ("clean-up", "CreateDatabase", "DeleteTable")]


def denying(*actions):
    def denies(request, answer):
        action = request.headers.get("X-Amz-Target", "").split(".")[-1]
        if action not in actions:
            return answer
        body = json.dumps({"__type": "AccessDeniedException", "Message": f"not authorized to perform: glue:{action}"})
        return 400, "Bad Request", [("Content-Type", "application/x-amz-json-1.1")], body.encode()
    return denies


class Refusing(Changed):
    """The same, but the server never sees what is refused."""

    def forward(self, request, body):
        refused = self.change(request, None)
        if refused:
            self._count("changed", "other")
            return refused
        return Proxy.forward(self, request, body)


@pytest.fixture
def refusing(glue):
    proxies = []

    def make(*actions):
        proxies.append(Refusing(glue.port, denying(*actions)))
        return proxies[-1]
    yield make
    for proxy in proxies:
        proxy.close()


@pytest.mark.parametrize("action", RIGHTS)
def test_a_right_that_glue_denies_is_named_and_the_others_are_tried(on_aws, glue, name, refusing, action):
    _, doctor = on_aws
    proxy = refusing(action)
    assert doctor("--only", "glue", AWS_ENDPOINT_URL_GLUE=proxy.url) == 1
    assert proxy.counts["changed"] >= 1
    failed = {at for at, state in doctor.wrong().items() if state == "failed"}
    assert failed == {("catalog", action)}, doctor.told()
    found, remedy = doctor.one("catalog", action)
    assert f"glue:{action} is denied" in found and f"allow glue:{action}" in remedy
    assert glue.tables(name.replace("-", "_")) == {}, "nothing is left behind"


def test_without_the_right_to_delete_tables_none_is_made(on_aws, glue, name, refusing):
    _, doctor = on_aws
    assert doctor("--only", "catalog", AWS_ENDPOINT_URL_GLUE=refusing("DeleteTable", "CreateDatabase").url) == 0
    assert doctor.wrong() == {("catalog", right): "warning" for right in
                              ("CreateDatabase", "DeleteTable", "CreateTable")}, doctor.told()
    assert "only doctor needs it" in doctor.one("catalog", "DeleteTable")[0]
    assert glue.tables(name.replace("-", "_")) == {}


def test_a_database_that_does_not_exist_is_left_to_the_host(on_aws, glue, name):
    _, doctor = on_aws
    none = f"{name}_none".replace("-", "_")
    assert doctor("--only", "catalog", "--database", none) == 0, doctor.told()
    found, remedy = doctor.one("catalog", "CreateDatabase")
    assert "tidemill run" in found and f"create-database --database-input Name={none}" in remedy
    assert none not in glue.databases()


def test_a_broken_component_is_named(on_disk, tmp_path):
    _, doctor = on_disk
    ours = doctor.tidemill.with_transforms(tmp_path / "components")
    (ours.transforms / "broken.wasm").write_bytes(b"this is no WebAssembly\n")
    assert doctor("--transforms", ours.transforms) == 1
    found, remedy = doctor.only("transforms", "broken.wasm")
    assert "broken.wasm" in found and "tidemill build" in remedy
    assert doctor.steps["transforms", "clean.wasm"]["state"] == "ok"
    assert doctor.steps["transforms", "graph"]["found"] == "skipped: `broken.wasm` did not pass"
    (ours.transforms / "broken.wasm").unlink()
    (ours.transforms / "clean.wasm").unlink()
    assert doctor("--transforms", ours.transforms) == 1
    found, _ = doctor.only("transforms", "graph")
    assert "user_events" in found


def test_a_zone_that_is_no_folder_or_not_ours(on_disk, tmp_path):
    _, doctor = on_disk
    file = tmp_path / "file"
    file.write_text("no folder")
    assert doctor("--raw", file.as_uri()) == 1
    found, remedy = doctor.only("raw", "folder")
    assert f"{file} is no folder" in found and "`raw`" in remedy
    if os.geteuid() == 0:
        pytest.skip("nothing is forbidden to root")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert doctor("--raw", closed.as_uri()) == 1
    found, remedy = doctor.only("raw", "write")
    assert "ermission denied" in found and "chown" in remedy


def test_an_address_that_somebody_else_holds(on_disk):
    _, doctor = on_disk
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert doctor("--only", "host", "--http", address) == 1
        found, remedy = doctor.only("host", "http")
        assert f"{address} is held by" in found and f"(process {os.getpid()})" in found and "--http" in remedy
        assert doctor("--only", "host", "--http", "off") == 0 and ("host", "http") not in doctor.steps


def test_settings_that_make_no_sense_are_told_of_first(on_disk, tmp_path):
    _, doctor = on_disk
    file = tmp_path / "tidemill.toml"
    file.write_text("memory = '3'\n[librdkafka]\n'sasl.password' = 'do-not-tell'\n")
    file.chmod(0o644)
    assert doctor("--config", file) == 1
    found, _ = doctor.only("configuration", "configuration")
    assert "`memory`" in found and str(file) in found
    assert all(step["state"] == "skipped" for (area, _), step in doctor.steps.items() if area != "configuration")
    file.write_text(file.read_text().replace("'3'", "'128MiB'"))
    assert doctor("--config", file, "--only", "machine") == 0
    found, remedy = doctor.only("configuration", "configuration", "warning")
    assert "sasl.password" in found and "memory" in found and f"chmod 600 {file}" in remedy
    assert "do-not-tell" not in doctor.asked.stdout
    assert {area for area, _ in doctor.steps} == {"configuration", "machine"}


def test_with_everything_down_it_ends_within_a_minute(on_aws):
    _, doctor = on_aws
    dead = f"http://127.0.0.1:{free_port()}"
    assert doctor("--brokers", f"127.0.0.1:{free_port()}", "--transforms", "/nowhere", AWS_ENDPOINT_URL_S3=dead,
                  AWS_ENDPOINT_URL_GLUE=dead) == 1
    print(f"all refused: {doctor.took:.1f} s")
    assert doctor.took < 60
    assert {at for at, state in doctor.wrong().items() if state == "failed"} == {
        ("brokers", "reachable"), ("raw", "reachable"), ("processed", "reachable"), ("catalog", "GetDatabase"),
        ("transforms", "directory")}, doctor.told()
    # Who takes connections and says nothing is worse than who is not there.
    silent = socket.create_server(("127.0.0.1", 0), backlog=128)
    port = silent.getsockname()[1]
    try:
        mute = f"http://127.0.0.1:{port}"
        assert doctor("--brokers", f"127.0.0.1:{port}", AWS_ENDPOINT_URL_S3=mute, AWS_ENDPOINT_URL_GLUE=mute) == 1
    finally:
        silent.close()
    print(f"all silent: {doctor.took:.1f} s")
    assert doctor.took < 60
    assert f"process {os.getpid()}" in doctor.one("brokers", "speaks kafka")[0]
    assert f"process {os.getpid()}" in doctor.one("raw", "reachable")[0]
    assert doctor.steps["catalog", "GetDatabase"]["state"] == "failed"
