"""Brokers that ask who is there: MSK's IAM, SCRAM and mutual TLS, each over TLS with a throw-away authority."""

import os
import re
import secrets
import subprocess
from pathlib import Path

import pytest
from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from certificates import Authority
from kafka import Kafka
from process import until
from ways import either_way  # noqa: F401

VERIFIER = Path(__file__).with_name("IamVerifier.java")
REGION = "eu-west-1"
LISTENERS = {"IAM": "SASL_SSL", "SCRAM": "SASL_SSL", "MTLS": "SSL"}
PROPERTIES = """
listener.name.iam.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.iam.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
listener.name.iam.oauthbearer.sasl.server.callback.handler.class=IamVerifier
listener.name.iam.oauthbearer.connections.max.reauth.ms=4000
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.scram.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.mtls.ssl.client.auth=required
"""


class Secured(Kafka):
    """A broker that knows some identities."""

    def __init__(self, folder, jars):
        self.iam = folder / "iam"
        self.iam.mkdir(parents=True)
        (self.iam / "keys").write_text("")
        subprocess.run(["javac", "-cp", f"{jars}/*", "-d", self.iam, VERIFIER], check=True, timeout=120)
        self.authority = Authority(folder / "authority")
        _, _, keystore = self.authority.issue("broker")
        stores = "".join(
            f"listener.name.{name.lower()}.ssl.keystore.type=PEM\nlistener.name.{name.lower()}.ssl.keystore.location={keystore}\n"
            f"listener.name.{name.lower()}.ssl.truststore.type=PEM\nlistener.name.{name.lower()}.ssl.truststore.location={self.authority.path}\n"
            for name in LISTENERS)
        super().__init__(folder / "broker", jars, LISTENERS, PROPERTIES + stores,
                         ["-cp", f"{jars}/*:{self.iam}", f"-Diam={self.iam}"])

    def identity(self, session=False):
        """AWS credentials that the broker knows, made up on the spot."""
        key, secret = "ASIA" + secrets.token_hex(8).upper(), secrets.token_urlsafe(30)
        token = secrets.token_urlsafe(120) + "+/=" if session else "-"
        with (self.iam / "keys").open("a") as keys:
            keys.write(f"{key} {secret} {token}\n")
        return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret,
                **({"AWS_SESSION_TOKEN": token} if session else {})}

    def noted(self, what):
        path = self.iam / what
        return path.read_text().splitlines() if path.exists() else []

    def arguments(self, listener):
        return ["--brokers", self.addresses[listener], "-X", f"ssl.ca.location={self.authority.path}"]


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    kafka = Secured(tmp_path_factory.mktemp("secured"), os.environ["TIDEMILL_TEST_KAFKA"])
    yield kafka
    kafka.process.stop(30)


def job(tidemill, disk, name, client, env, count=3000):
    """Events in and out again through that listener."""
    produce = tidemill("produce", "--topic", name, "--count", count, *client, **env)
    assert produce.wait(60) == 0, produce.stderr
    host = tidemill("run", "--topic", name, "--group", name, *disk.arguments(), "--transforms", tidemill.transforms,
                    "--commit-interval", "1s", *client, **env)
    until(lambda: disk.count("user_events") == count, 60, "the events are in the lake", alive=[host])
    return host


def test_iam_lets_an_identity_in_that_msk_knows(tidemill, secured, disk, name):
    env, client = secured.identity(session=True), [*secured.arguments("IAM"), "--auth", "msk-iam"]
    host = job(tidemill, disk, name, client, env)
    # The broker asks again every four seconds; librdkafka shows it a token that it got since.
    ours = lambda: {line.split()[1] for line in secured.noted("took") if line.startswith(env["AWS_ACCESS_KEY_ID"])}
    shown = len(secured.noted("took"))
    until(lambda: len(secured.noted("took")) > shown + 2, 30, "the broker asks again", alive=[host])
    more = tidemill("produce", "--topic", name, "--count", 500, *client, **env)
    assert more.wait(60) == 0, more.stderr
    until(lambda: disk.count("user_events") == 3500, 30, "they come in after that, too", alive=[host])
    assert host.stop(20) == 0
    print(f"{len(ours())} tokens, shown {len(secured.noted('took'))} times; refused {len(secured.noted('refused'))}")
    assert len(ours()) >= 3, "each client has tokens of its own"
    said = host.stderr + more.stderr
    assert not any(secret in said for secret in (env["AWS_SECRET_ACCESS_KEY"], env["AWS_SESSION_TOKEN"]))


def test_iam_does_not_let_others_in(tidemill, secured, disk, name):
    env = {**secured.identity(), "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30)}
    client = [*secured.arguments("IAM"), "--auth", "msk-iam"]
    before = len(secured.noted("refused"))
    doctor = tidemill("doctor", "--topic", name, "--group", name, *disk.arguments(), "--transforms",
                      tidemill.transforms, *client, **env)
    assert doctor.wait(60) == 1
    print("\n".join(line for line in doctor.stdout.splitlines() if "broker" in line))
    assert re.search("does not accept this AWS identity.*\n.*kafka-cluster:Connect", doctor.stdout)
    assert len(secured.noted("refused")) > before, "the broker looked at the token"


def test_iam_without_credentials_says_so(tidemill, secured, disk, name):
    env = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    host = tidemill("run", "--topic", name, "--group", name, *disk.arguments(), "--transforms", tidemill.transforms,
                    *secured.arguments("IAM"), "--auth", "msk-iam", **env)
    assert host.wait(40) == 1
    assert "setting `auth`" in host.stderr and "credentials" in host.stderr, host.stderr


def test_scram_over_tls(tidemill, secured, disk, name):
    password = secrets.token_urlsafe(20)
    wanted = UserScramCredentialUpsertion("ada", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), password.encode())
    secured.admin.alter_user_scram_credentials([wanted])["ada"].result(30)
    client = [*secured.arguments("SCRAM"), "-X", "security.protocol=SASL_SSL", "-X", "sasl.mechanism=SCRAM-SHA-512",
              "-X", "sasl.username=ada"]
    host = job(tidemill, disk, name, [*client, "-X", f"sasl.password={password}"], {})
    assert host.stop(20) == 0 and password not in host.stderr
    wrong = tidemill("doctor", "--topic", name, "--group", name, *disk.arguments(), "--transforms", tidemill.transforms,
                     *client, "-X", "sasl.password=wrong")
    assert wrong.wait(60) == 1 and re.search("(?i)authentication", wrong.stdout), wrong.stdout


def test_mutual_tls(tidemill, secured, disk, name):
    key, certificate, _ = secured.authority.issue(name)
    client = [*secured.arguments("MTLS"), "-X", "security.protocol=SSL"]
    host = job(tidemill, disk, name, [*client, "-X", f"ssl.key.location={key}", "-X", f"ssl.certificate.location={certificate}"], {})
    assert host.stop(20) == 0
    stranger = tidemill("doctor", "--topic", name, "--group", name, *disk.arguments(), "--transforms",
                        tidemill.transforms, *client)
    assert stranger.wait(60) == 1 and re.search("(?i)(certificate|ssl|handshake)", stranger.stdout), stranger.stdout
