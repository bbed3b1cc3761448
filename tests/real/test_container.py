"""What the image holds, run by runc with the settings of the Dockerfile and the Compose file: real Kafka, versitygw started
as Compose starts it, a real job. What Docker would add (its network, its seccomp profile) is not here."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from certificates import Authority
from container import Container
from host import BINARY
from image import DOCKERFILE, ROOT, Image, assemble, build, last_stage
from lake import Folder, Lake
from process import free_port, listens, start_server, until

IMAGE = last_stage(DOCKERFILE.read_text())
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
COUNT = 20_000


@pytest.fixture(scope="module")
def root(tmp_path_factory, transforms):
    """The image's files."""
    folder = tmp_path_factory.mktemp("image")
    return assemble(IMAGE, build(BINARY, transforms, folder), folder / "root")


@pytest.fixture
def contain(root, tmp_path):
    """Starts a container; all of them end with the test."""
    started = []

    def start(*arguments, **how):
        started.append(Container(IMAGE, root, tmp_path / f"container-{len(started)}", arguments, **how))
        return started[-1]
    yield start
    for container in started:
        container.remove()


class Zone(Folder):
    """A bucket of versitygw, as the folder that it is; uploads that are under way are not objects, and come and go."""

    def keys(self):
        found = []
        for folder, below, files in os.walk(self.root):
            below[:] = [name for name in below if name != ".sgwtmp"]
            found += [Path(folder, name).relative_to(self.root).as_posix() for name in files]
        return found


def gateway(folder):
    """versitygw as its image has it, as far as it matters here: the program, run by root, over a folder."""
    program, root = Path(os.environ["TIDEMILL_TEST_VERSITYGW"]), folder / "root"
    linked = subprocess.run(["ldd", program], timeout=10, capture_output=True, text=True).stdout  # nothing, if it is static
    for file, target in [(program, root / "versitygw"), *((path, root / path[1:]) for path in re.findall(r"/\S+", linked))]:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    (root / "s3").mkdir()
    return Image("scratch", volumes=["/s3"], entrypoint=["/versitygw"]), root


class Compose:
    """The services of the Compose file with addresses of this machine, which must all be found and replaced."""

    def __init__(self, folder, kafka):
        read = [os.environ["TIDEMILL_TEST_COMPOSE"], "--format", "json", ROOT / "docker-compose.yml"]
        services = json.loads(subprocess.run(read, check=True, timeout=60, capture_output=True).stdout)["services"]
        s3, port = folder / "s3", free_port()
        s3.mkdir(parents=True)
        subprocess.run([re.sub("^/s3/", f"{s3}/", word) for word in services["buckets"]["entrypoint"]], check=True, timeout=10)
        command = services["s3"]["command"]
        command[command.index(":7070")] = f"127.0.0.1:{port}"
        self.gateway = Container(*gateway(folder), folder / "gateway", command, env=services["s3"]["environment"],
                                 volumes={"/s3": s3})
        until(lambda: listens(port), 30, "versitygw listens", alive=[self.gateway.process])
        health = services["s3"]["healthcheck"]["test"][-1].replace("7070", str(port))
        with urllib.request.urlopen(health, timeout=10) as answer:
            assert answer.status == 200

        host = services["tidemill"]
        self.grace = int(host["stop_grace_period"].removesuffix("s"))
        self.http = f"127.0.0.1:{free_port()}"
        self.env = dict(host["environment"])
        for name, there, instead in [("AWS_ENDPOINT_URL_S3", "http://s3:7070", f"http://127.0.0.1:{port}"),
                                     ("TIDEMILL_BROKERS", "kafka:19092", kafka.brokers),
                                     ("TIDEMILL_HTTP", "0.0.0.0:8080", self.http)]:
            assert self.env[name] == there, f"{name} is {self.env[name]}"
            self.env[name] = instead
        topic = services["topic"]["command"]
        self.topic, self.partitions = topic[topic.index("--topic") + 1], int(topic[topic.index("--partitions") + 1])
        self.lake = Lake(Zone(s3 / "user-events-raw"), Zone(s3 / "user-events-processed"))


@pytest.fixture
def compose(tmp_path, kafka):
    compose = Compose(tmp_path / "compose", kafka)
    kafka.create(compose.topic, compose.partitions)
    yield compose
    kafka.delete(compose.topic)
    compose.gateway.remove()


def status_of(pid):
    """What the kernel knows of a process."""
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def healthy(container):
    return container.execute(*IMAGE.healthcheck)


def test_a_job_in_the_image(contain, root, compose, tmp_path):
    (cache := tmp_path / "cache").mkdir()
    raw, started = f"{compose.topic.replace('-', '_')}_raw", time.monotonic()
    host = contain(*IMAGE.cmd, env=compose.env, volumes={"/var/cache/tidemill": cache})
    until(lambda: host.running() and healthy(host)[0] == 0, 60, "the host is healthy", every=0.2, alive=[host.process])
    ready = time.monotonic() - started

    # Confined as it should be, its children too: without rights, and with nothing to write but its volumes.
    found = status_of(host.pid())
    assert found["Uid"].split() == ["65532"] * 4 and found["Gid"].split() == ["65532"] * 4
    assert found["NSpid"].split()[-1] == "1", "it is the first process, as with Docker"
    assert {int(found[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0} and found["NoNewPrivs"] == "1"
    mounts = [line.split() for line in Path(f"/proc/{host.pid()}/mountinfo").read_text().splitlines()]
    rights = {fields[4]: fields[5].split(",") for fields in mounts}
    assert "ro" in rights["/"] and all("rw" in rights[volume] for volume in IMAGE.volumes)
    for shell in ("/bin/sh", "/bin/bash", "/bin/busybox"):
        code, said = host.execute(shell, "-c", "true")
        assert code != 0 and "no such file" in said, f"there is a {shell}: {said}"

    produce = contain("produce", "--count", COUNT, "--bad", "0.01", "--seed", "7", env=compose.env)
    assert produce.process.wait(60) == 0, produce.process.stderr
    until(lambda: compose.lake.count(raw) == COUNT, 60, "all events are in the lake", every=0.2, alive=[host.process])
    code, said = host.execute(*IMAGE.entrypoint, "status")
    assert code == 0 and "clean" in said, f"its socket in /tmp: {said}"
    compiled = {path.name: path.stat().st_ino for path in cache.glob("*.cwasm")}
    assert len(compiled) == len(list((root / "transforms").glob("*.wasm"))) >= 4, "a child compiled each transform"

    began = time.monotonic()
    assert host.process.stop(compose.grace) == 0, host.process.stderr[-2000:]
    stopped = time.monotonic() - began
    good, rejected = compose.lake.offsets("user_events"), compose.lake.rejected()
    assert len(good) + len(rejected) == COUNT == compose.lake.count(raw) and set(good).isdisjoint(rejected)
    verify = contain("verify", env=compose.env)
    assert verify.process.wait(60) == 0, verify.process.stdout + verify.process.stderr
    print(f"healthy in {ready:.1f} s; {len(compiled)} transforms compiled; {COUNT} events, {len(rejected)} of them rejected, "
          f"each once; ended {stopped:.2f} s after SIGTERM with 0")

    # The next start finds them compiled, and the log.
    again, started = contain(*IMAGE.cmd, "--until-end", env=compose.env, volumes={"/var/cache/tidemill": cache}), time.monotonic()
    assert again.process.wait(60) == 0, again.process.stderr[-2000:]
    assert compose.lake.count(raw) == COUNT
    assert {path.name: path.stat().st_ino for path in cache.glob("*.cwasm")} == compiled, "they were compiled again"
    print(f"started again, to the end, in {time.monotonic() - started:.1f} s")


def test_what_does_not_answer_is_not_healthy(contain, compose):
    """Else Docker and ECS would keep a host that hangs."""
    alone = contain("health", env=compose.env)
    assert alone.process.wait(30) == 1, alone.process.stderr
    assert compose.http in alone.process.stderr, alone.process.stderr
    print(alone.process.stderr.strip())


def trusting(folder, root, certificate):
    """The image's certificates with one more."""
    bundle = folder / "bundle.crt"
    bundle.write_text((root / BUNDLE.strip("/")).read_text() + Path(certificate).read_text())
    return {BUNDLE: bundle}


def test_the_kafka_client_finds_the_certificates(contain, root, kafka, tmp_path, name):
    """No ssl.ca.location: librdkafka's own OpenSSL must look where the image has them (SSL_CERT_FILE)."""
    produce = ["produce", "--brokers", kafka.tls_brokers, "--topic", name, "--count", 10, "-X", "security.protocol=SSL"]
    trusted = contain(*produce, cover=trusting(tmp_path, root, kafka.ca))
    assert trusted.process.wait(60) == 0, trusted.process.stderr
    doctor = ["doctor", "--only", "brokers", "--brokers", kafka.tls_brokers, "--topic", name, "-X", "security.protocol=SSL"]
    stranger = contain(*doctor)
    assert stranger.process.wait(60) == 1
    said = stranger.process.stdout + stranger.process.stderr
    assert "certificate" in said, said
    print("a broker whose certificate the image's bundle knows is trusted, another one is not")


def test_the_aws_clients_find_the_certificates(contain, root, tmp_path):
    """So does rustls."""
    authority = Authority(tmp_path / "authority")
    key, certificate, _ = authority.issue("s3")
    (tmp_path / "s3/lake").mkdir(parents=True)
    port = free_port()
    env = {"AWS_ACCESS_KEY_ID": "made", "AWS_SECRET_ACCESS_KEY": "up", "AWS_REGION": "us-east-1",
           "AWS_ENDPOINT_URL_S3": f"https://127.0.0.1:{port}", "AWS_EC2_METADATA_DISABLED": "true"}
    start_server("versitygw", [os.environ["TIDEMILL_TEST_VERSITYGW"], "--port", f"127.0.0.1:{port}", "--region", "us-east-1",
                               "--quiet", "--cert", certificate, "--key", key, "posix", tmp_path / "s3"],
                 {**os.environ, "ROOT_ACCESS_KEY": "made", "ROOT_SECRET_KEY": "up"}, tmp_path / "server", port)
    doctor = ["doctor", "--only", "zones", "--raw", "s3://lake/raw", "--processed", "s3://lake/processed", "--catalog", "none"]
    trusted = contain(*doctor, env=env, cover=trusting(tmp_path, root, authority.path))
    assert trusted.process.wait(60) == 0, trusted.process.stdout + trusted.process.stderr
    stranger = contain(*doctor, env=env)
    assert stranger.process.wait(60) == 1, stranger.process.stdout
    print("an S3 server whose authority the image's bundle knows is trusted, another one is not")
