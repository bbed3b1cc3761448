"""Transforms in a bucket: watched by ETag, deployed by a command, and only those that are trusted."""

import json
import re
import secrets
import shutil
import subprocess
import tempfile

import pytest

from pipeline import Pipeline
from process import until


@pytest.fixture
def shelf(s3, name):
    """A bucket with a folder for transforms, and things in it that are none of ours."""
    s3.client.create_bucket(Bucket=f"{name}-transforms")
    for key in ("live/notes.txt", "live/deeper/other.wasm", "lively/other.wasm"):
        s3.client.put_object(Bucket=f"{name}-transforms", Key=key, Body=b"nobody's business")
    return f"s3://{name}-transforms/live"


@pytest.fixture
def hosts(tidemill, kafka, disk, name, shelf):
    """Starts hosts that take their transforms from the bucket, and commands that go there."""
    kafka.create(name)
    with tempfile.TemporaryDirectory(prefix="run-") as runtime:
        common = ["--topic", name, "--group", name, *disk.arguments(), "--catalog", "local", "--transforms", shelf]

        class Hosts:
            def run(self, *arguments):
                return tidemill("run", "--brokers", kafka.brokers, "--commit-interval", "1s", *common, *arguments,
                                XDG_RUNTIME_DIR=runtime)

            def deploy(self, *arguments, local=True):
                env = {"XDG_RUNTIME_DIR": runtime} if local else {}
                return tidemill("deploy-transform", *arguments, *common, "--commit-interval", "1s", **env)

            def status(self):
                asked = tidemill("status", "--pipeline", name, "--json", XDG_RUNTIME_DIR=runtime)
                return json.loads(asked.stdout.splitlines()[0]) if asked.wait(20) == 0 else None

        yield Hosts()


def upload(s3, name, path):
    s3.client.put_object(Bucket=f"{name}-transforms", Key=f"live/{path.name}", Body=path.read_bytes())


def test_a_bucket_is_watched_like_a_directory(tidemill, hosts, s3, disk, kafka, name, transforms, tmp_path):
    # The bucket was made a moment ago: who starts first waits for the first one.
    host = hosts.run()
    host.says(re.compile(f"no .*wasm right under s3://{name}-transforms/live.*retrying"), 30)
    for file in ("clean", "activity_per_minute"):
        put = hosts.deploy(transforms / f"{file}.wasm")
        assert put.wait(90) == 0, put.stderr
        assert "no partition has had events since" in put.stdout, put.stdout
    produce = tidemill.produce(name, 0, rate=500)
    until(lambda: disk.count("user_activity_per_minute") > 0, 60, "it works", alive=[host, produce])
    set_before = hosts.status()["set"]

    # One that is dropped by hand is found by its ETag.
    upload(s3, name, transforms / "sessions.wasm")
    now = until(lambda: (s := hosts.status()) and any(t["file"] == "sessions" for t in s["transforms"]) and s, 30,
                "sessions is live", alive=[host, produce])
    assert now["set"] > set_before and now["host"]["transforms"] == f"s3://{name}-transforms/live"

    # The command waits until partitions commit with it.
    changed = tmp_path / "sessions.wasm"
    shutil.copy(transforms / "sessions.wasm", changed)
    (tmp_path / "sessions.toml").write_text("[limits]\nmemory-mib = 96\n")
    deploy = hosts.deploy(changed, "--json")
    assert deploy.wait(90) == 0, deploy.stderr
    said = json.loads(deploy.stdout)
    print(said)
    assert said["standing"]["set"] > now["set"] and said["standing"]["live"] == [0, 1, 2] and not said["standing"]["behind"]
    log = Pipeline(tidemill, name, name, disk, "--catalog", "local").log()
    record, = [r for r in log if r["seq"] == said["standing"]["set"]]
    assert [c["sidecar"] for c in record["transforms"]["components"] if c["file"] == "sessions"] == ["[limits]\nmemory-mib = 96\n"]

    # Another host would refuse this: nothing is put there.
    broken = tmp_path / "broken.wasm"
    broken.write_bytes((transforms / "clean.wasm").read_bytes()[:20_000])
    deploy = hosts.deploy(broken)
    assert deploy.wait(60) == 2 and "broken.wasm" in deploy.stderr, deploy.stderr
    assert not any("broken" in key for key in s3.keys(f"{name}-transforms"))
    # One that is put there all the same is refused by the host, and the others go on.
    upload(s3, name, broken)
    refused = until(lambda: (hosts.status() or {}).get("refused"), 30, "it is refused", alive=[host])
    assert refused[0]["file"] == "broken" and "does not compile" in refused[0]["reason"]
    s3.client.delete_object(Bucket=f"{name}-transforms", Key="live/broken.wasm")

    deploy = hosts.deploy("--remove", "sessions")
    assert deploy.wait(90) == 0 and "sessions is retired" in deploy.stdout, deploy.stderr
    assert not any("sessions" in key for key in s3.keys(f"{name}-transforms"))
    assert all(t["file"] != "sessions" for t in hosts.status()["transforms"])

    assert produce.stop(30) == 0
    ends = kafka.ends(name)
    until(lambda: sum(p["committed"] or 0 for p in hosts.status()["partitions"].values()) == sum(ends.values()), 30,
          "all is committed", alive=[host])
    assert host.stop(20) == 0
    Pipeline(tidemill, name, name, disk, "--catalog", "local").exact(ends)


def test_a_bucket_that_is_away_changes_nothing(tidemill, kafka, disk, name, s3, proxy, shelf, transforms):
    kafka.create(name)
    upload(s3, name, transforms / "clean.wasm")
    host = tidemill("run", "--brokers", kafka.brokers, "--topic", name, "--group", name, *disk.arguments(), "--catalog",
                    "local", "--transforms", shelf, "--commit-interval", "1s", AWS_ENDPOINT_URL_S3=proxy.url)
    assert tidemill.produce(name, 1000).wait(60) == 0
    until(lambda: disk.count("user_events"), 60, "it works", alive=[host])
    before = disk.count("user_events")
    proxy.errors(1.0)
    host.says(re.compile("cannot see whether transforms have changed"), 60)
    assert tidemill.produce(name, 1000).wait(60) == 0
    until(lambda: disk.count("user_events") > before, 30, "it goes on", alive=[host])
    proxy.passes()
    assert host.stop(20) == 0


def test_only_trusted_components_are_taken(tidemill, hosts, s3, disk, kafka, name, transforms, tmp_path):
    key, stranger = tmp_path / "release.pem", tmp_path / "stranger.pem"
    made = tidemill("sign", "--new-key", key)
    assert made.wait(20) == 0 and key.stat().st_mode & 0o777 == 0o600
    public = made.stdout.strip()
    again = tidemill("sign", "--key", key)
    assert again.wait(20) == 0 and again.stdout.strip() == public
    overwrite = tidemill("sign", "--new-key", key)
    assert overwrite.wait(20) == 2, "a key is never overwritten"
    # A key of the tool that people have.
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", stranger], check=True, timeout=30)

    upload(s3, name, transforms / "clean.wasm")
    untrusted = hosts.run("--trusted-keys", public)
    assert untrusted.wait(30) == 2 and "clean.wasm" in untrusted.stderr and "is not trusted" in untrusted.stderr
    signed = hosts.deploy(transforms / "clean.wasm", "--key", key, "--trusted-keys", public, "--no-wait")
    assert signed.wait(60) == 0, signed.stderr
    host = hosts.run("--trusted-keys", public)
    produce = tidemill.produce(name, 0, rate=300)
    until(lambda: disk.count("user_events") > 0, 60, "it works", alive=[host, produce])

    # Nobody else changes the data: not with another key, not without one, not with another sidecar.
    wrong = hosts.deploy(transforms / "sessions.wasm", "--key", stranger, "--trusted-keys", public)
    assert wrong.wait(60) == 2 and "of none of the 1 keys" in wrong.stderr
    upload(s3, name, transforms / "sessions.wasm")
    s3.client.put_object(Bucket=f"{name}-transforms", Key="live/clean.toml", Body=b"[config]\nmax-age-days = 1\n")
    refused = until(lambda: (r := (hosts.status() or {}).get("refused")) and len(r) == 2 and r, 30, "both are refused",
                    alive=[host])
    assert {r["file"] for r in refused} == {"clean", "sessions"} and all("not trusted" in r["reason"] for r in refused)
    assert [t["file"] for t in hosts.status()["transforms"]] == ["clean"]

    # A signature that comes later is enough.
    shutil.copy(transforms / "sessions.wasm", tmp_path)
    assert tidemill("sign", "--key", key, tmp_path / "sessions.wasm").wait(20) == 0
    upload(s3, name, tmp_path / "sessions.wasm.sig")
    until(lambda: len(hosts.status()["transforms"]) == 2, 30, "sessions is live", alive=[host])
    assert produce.stop(30) == 0
    assert host.stop(20) == 0

    # The log remembers the signature: a host without the file takes the set, one with other keys does not.
    s3.client.delete_object(Bucket=f"{name}-transforms", Key="live/clean.toml")
    other = hosts.run("--trusted-keys", secrets.token_urlsafe(9))
    assert other.wait(30) == 2 and "is no public key" in other.stderr
    digests = [c["digest"] for c in [r for r in Pipeline(tidemill, name, name, disk, "--catalog", "local").log()
                                      if r.get("transforms")][-1]["transforms"]["components"]]
    listed = hosts.run("--trusted-digests", ",".join(digests), "--until-end")
    assert listed.wait(60) == 0, listed.stderr[-2000:]
    one = hosts.run("--trusted-digests", digests[0], "--until-end")
    assert one.wait(60) != 0 and "is not trusted" in one.stderr, one.stderr[-2000:]
