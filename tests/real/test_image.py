"""The Dockerfile and what it copies, the Compose file, and the build's context: all that can be checked without Docker.
test_container.py runs it."""

import fnmatch
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from host import BINARY
from image import DOCKERFILE, ROOT, assemble, bases, build, instructions, last_stage
from kafka import LOGGING
from process import free_port, start_server

TEXT = DOCKERFILE.read_text()
LIBRARIES = r"(?:libc|libm|libgcc_s|ld-linux[a-z0-9-]*)\.so\.\d+"
# All that is in the image, as patterns of whole paths.
EXPECTED = [
    r"/usr/local/bin/tidemill",
    rf"/lib(64)?/([a-z0-9_]+-linux-gnu[a-z]*/)?{LIBRARIES}",
    r"/transforms/\w+\.wasm",
    r"/etc/(passwd|group|nsswitch\.conf|os-release)",
    r"/etc/ssl/certs/ca-certificates\.crt",
    r"/usr/share/doc/tidemill/LICENSE",
    r"/var/lib/dpkg/status\.d/(libc6|libgcc-s1|ca-certificates)",
]


def pinned(reference):
    """By a digest, or by a tag that names a whole version."""
    name, _, digest = reference.partition("@")
    tag = name.rpartition(":")[2] if ":" in name else ""
    return bool(re.fullmatch(r"sha256:[0-9a-f]{64}", digest)) or bool(re.match(r"v?\d+\.\d+\.\d+", tag))


@pytest.fixture(scope="module")
def compose():
    """The Compose file, as Docker Compose reads it."""
    done = subprocess.run([os.environ["TIDEMILL_TEST_COMPOSE"], "--format", "json", ROOT / "docker-compose.yml"],
                          timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_dockerfile_is_clean():
    """hadolint has nothing to say of it, and it finds what is wrong."""
    hadolint = [Path(sys.executable).with_name("hadolint"), "--no-color", "-"]
    said = subprocess.run(hadolint, input=TEXT, timeout=60, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout
    spoilt = TEXT.replace("rm -rf /var/lib/apt/lists/*", "sudo true")
    assert spoilt != TEXT
    found = subprocess.run(hadolint, input=spoilt, timeout=60, capture_output=True, text=True)
    assert found.returncode == 1 and "DL3004" in found.stdout, found.stdout
    print(f"hadolint: nothing in {len(TEXT.splitlines())} lines")


def test_the_image_keeps_our_rules():
    image = last_stage(TEXT)
    used = bases(TEXT)
    assert image.base == "scratch" and all(pinned(base) for base in used[:-1]), used
    assert image.user == "65532:65532", "by number: Kubernetes cannot tell a name from root"
    assert image.stop_signal == "SIGTERM" and image.cmd == ["run"]
    assert image.healthcheck == [*image.entrypoint, "health"]
    assert set(image.volumes) == {copy.target.rstrip("/") for copy in image.copies if copy.owner == image.user}
    wanted = {"title", "description", "licenses", "version", "revision"}
    assert {f"org.opencontainers.image.{name}" for name in wanted} == set(image.labels)
    # A secret in an image is read by whoever has the image.
    secrets = [i for i in instructions(TEXT) if i[0] in ("ENV", "ARG") and re.search(r"(?i)secret|token|passw|_key", i[1])]
    assert not secrets, secrets
    # The compiler is the one that everything else is built with.
    toolchain = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]
    assert used[0].startswith(f"rust:{toolchain['channel']}-"), used[0]
    assert all(f"rustup target add {target}" in TEXT for target in toolchain["targets"])
    print(f"built on {used[0]}, from {used[-1]}; as {image.user}: {' '.join(image.entrypoint + image.cmd)}")


def test_what_is_in_the_image(tmp_path, transforms):
    image = last_stage(TEXT)
    root = assemble(image, build(BINARY, transforms, tmp_path), tmp_path / "root")
    files, owner = {}, tuple(map(int, image.user.split(":")))
    for path in root.rglob("*"):
        name, found = f"/{path.relative_to(root)}", path.lstat()
        assert stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode), f"{name} is neither file nor folder"
        assert not found.st_mode & 0o6022, f"{name} has mode {found.st_mode:o}"
        theirs = name in image.volumes
        assert (found.st_uid, found.st_gid) == (owner if theirs else (0, 0)), f"{name} is {found.st_uid}'s"
        if path.is_file():
            files[name] = found
    odd = [name for name in files if not any(re.fullmatch(pattern, name) for pattern in EXPECTED)]
    missing = [pattern for pattern in EXPECTED if not any(re.fullmatch(pattern, name) for name in files)]
    assert not odd and not missing, (odd, missing)
    programs = [name for name, found in files.items() if found.st_mode & 0o111 and not re.search(LIBRARIES, name)]
    assert programs == ["/usr/local/bin/tidemill"], programs
    shipped = {f"/transforms/{path.parent.name}.wasm" for path in ROOT.glob("transforms/*/Cargo.toml")}
    assert shipped <= set(files), shipped - set(files)
    certificates = (root / "etc/ssl/certs/ca-certificates.crt").read_text().count("BEGIN CERTIFICATE")
    assert certificates > 50 and image.env["SSL_CERT_FILE"] == "/etc/ssl/certs/ca-certificates.crt"
    size = sum(found.st_size for found in files.values())
    print(f"{len(files)} files, {size / 2**20:.0f} MiB, of that the program {files[programs[0]].st_size / 2**20:.0f} MiB; "
          f"one program, no shell; {certificates} certificates")


def test_a_library_that_nobody_named_is_refused(tmp_path, transforms):
    """Else the image would lack a file that the next one needs, or grow without anybody's wish."""
    other = tmp_path / "other"
    shutil.copy("/bin/ls", other)  # needs libselinux
    done = subprocess.run([ROOT / "ops/image/rootfs.sh", other, transforms, tmp_path / "root"], timeout=60,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "needs libselinux.so" in done.stderr, done


def test_the_context_holds_what_the_build_reads(tmp_path):
    """Cargo finds each crate of the workspace, and each file that sources take in, in what Docker would be sent."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    tracked = subprocess.run(["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"], check=True,
                             capture_output=True, text=True).stdout.split()
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    sent = [f for f in tracked if any(f == rule or f.startswith(f"{rule}/") for rule in allowed)]
    for file in sent:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    unused = [rule for rule in allowed if not (tmp_path / rule).exists()]
    assert not unused, f".dockerignore lets in what is not there: {unused}"
    channel = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]  # it is not sent
    done = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1", "--offline"], cwd=tmp_path, timeout=60,
                          capture_output=True, text=True, env={**os.environ, "RUSTUP_TOOLCHAIN": channel})
    assert done.returncode == 0, done.stderr
    crates = {package["name"] for package in json.loads(done.stdout)["packages"]}
    assert {"tidemill", "clean"} <= crates
    for source in [f for f in sent if f.endswith(".rs") and not re.search(r"(^|/)(tests|benches)/", f)]:
        for taken in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', (ROOT / source).read_text()):
            assert (tmp_path / source).parent.joinpath(taken).exists(), f"{source} takes in {taken}"
    bytes = sum((tmp_path / file).stat().st_size for file in sent)
    # What is built here must not get in: neither target/ nor components.
    for built in ("transforms/clean.wasm", "tests/guests/evil/target/x"):
        last = [rule for rule in rules if fnmatch.fnmatch(built, rule.lstrip("!").replace("**/target", "*/target*"))][-1]
        assert not last.startswith("!"), f"{last} lets in {built}"
    print(f"{len(sent)} files, {bytes / 2**20:.1f} MiB, {len(crates)} crates")


def test_compose(compose):
    services, image = compose["services"], last_stage(TEXT)
    assert set(services) == {"kafka", "topic", "buckets", "s3", "tidemill"}
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in service["security_opt"], name
        assert name == "tidemill" or pinned(service["image"]), service["image"]
        assert all(port.get("host_ip") == "127.0.0.1" for port in service.get("ports", [])), f"{name} is reachable from outside"
        for other, how in service.get("depends_on", {}).items():
            # Who is waited for can be waited for.
            ended = how["condition"] == "service_completed_successfully"
            assert services[other]["restart"] == "no" if ended else "healthcheck" in services[other] or other == "tidemill"
    host = services["tidemill"]
    assert host["read_only"] and services["s3"]["read_only"] and services["buckets"]["read_only"]
    writable = {mount["target"] for mount in host["volumes"]} | {mount.split(":")[0] for mount in host["tmpfs"]}
    assert writable == set(image.volumes)
    # The versions that this suite tests with.
    kafka = re.search(r"kafka_2\.13</artifactId>\s*<version>([^<]+)", (ROOT / "tests/real/pom.xml").read_text())[1]
    assert services["kafka"]["image"] == services["topic"]["image"] == f"apache/kafka:{kafka}"
    s3 = re.search(r"^versitygw=(\S+)", (ROOT / "tests/real.sh").read_text(), re.M)[1]
    assert services["s3"]["image"] == services["buckets"]["image"] == f"versity/versitygw:{s3}"
    print(f"{len(services)} services; {kafka=}, {s3=}; the host writes to {sorted(writable)} only")


def test_the_broker_of_the_compose_file_starts(compose, tmp_path):
    """The image of Kafka makes a property of each variable (KAFKA_LOG_DIRS is log.dirs); its own programs do the rest."""
    service, topic = compose["services"]["kafka"], compose["services"]["topic"]["command"]
    ports = {port: free_port() for port in ("19092", "9092", "9093")}

    def here(text):
        text = re.sub(r"://:", "://127.0.0.1:", text.replace("kafka:", "127.0.0.1:").replace("localhost:", "127.0.0.1:"))
        return re.sub(r"\b(19092|9092|9093)\b", lambda m: str(ports[m[1]]), text)
    properties = {name.removeprefix("KAFKA_").lower().replace("_", "."): here(str(value))
                  for name, value in service["environment"].items() if name != "KAFKA_HEAP_OPTS"}
    assert properties["log.dirs"] == service["volumes"][0]["target"]
    properties["log.dirs"] = str(tmp_path / "data")
    config = tmp_path / "server.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    java = ["java", service["environment"]["KAFKA_HEAP_OPTS"], "-XX:TieredStopAtLevel=1", "-cp",
            f"{os.environ['TIDEMILL_TEST_KAFKA']}/*", f"-Dlog4j2.configurationFile={LOGGING}"]
    subprocess.run([*java, "kafka.tools.StorageTool", "format", "-t", "5L6g3nShT-eMCtK--X86sw", "-c", config], check=True,
                   timeout=60, capture_output=True)
    broker = start_server("kafka of the Compose file", [*java, "kafka.Kafka", config], os.environ, tmp_path / "broker",
                          int(ports["19092"]))
    topics = lambda words: subprocess.run([*java, "org.apache.kafka.tools.TopicCommand", *map(here, words)], check=True,
                                          timeout=60, capture_output=True, text=True).stdout
    assert service["healthcheck"]["test"][1].endswith("/kafka-topics.sh")
    topics(service["healthcheck"]["test"][2:])
    topics(topic)
    topics(topic)  # at the next start it is there already
    outside = AdminClient({"bootstrap.servers": f"127.0.0.1:{ports['9092']}", "log_level": 2})
    seen = outside.list_topics(timeout=10)
    assert len(seen.topics["user-events"].partitions) == 3
    assert {(b.host, b.port) for b in seen.brokers.values()} == {("127.0.0.1", ports["9092"])}
    assert broker.stop(30) in (0, 143)
    print("its variables make a broker; seen from outside, user-events has 3 partitions")


def test_compose_is_really_checked(tmp_path):
    """A key that Compose does not know is an error, so the test above would see it."""
    spoilt = tmp_path / "docker-compose.yml"
    spoilt.write_text((ROOT / "docker-compose.yml").read_text().replace("read_only:", "reed_only:", 1))
    done = subprocess.run([os.environ["TIDEMILL_TEST_COMPOSE"], spoilt], timeout=60, capture_output=True, text=True)
    assert done.returncode != 0 and "reed_only" in done.stderr, done
