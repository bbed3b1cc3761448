"""TLS to the broker, from the default build: nothing of the system's OpenSSL is used."""

import re

from ways import either_way  # noqa: F401


def test_events_come_and_go_over_tls(tidemill, kafka, disk, name):
    tls = ["-X", "security.protocol=SSL", "-X", f"ssl.ca.location={kafka.ca}"]
    produce = tidemill("produce", "--brokers", kafka.tls_brokers, "--topic", name, "--count", 3000, *tls)
    assert produce.wait(60) == 0, produce.stderr
    host = tidemill("run", "--brokers", kafka.tls_brokers, "--topic", name, "--group", name, *disk.arguments(),
                    "--transforms", tidemill.transforms, "--commit-interval", "1s", "--until-end", *tls)
    assert host.wait(60) == 0, host.stderr
    assert disk.count("user_events") == 3000


def test_a_broker_that_is_not_trusted_is_refused(tidemill, kafka, disk, name):
    host = tidemill("run", "--brokers", kafka.tls_brokers, "--topic", name, "--group", name, *disk.arguments(),
                    "--transforms", tidemill.transforms, "-X", "security.protocol=SSL")
    said = host.says(re.compile(rf"kafka at {kafka.tls_brokers} .*certificate verify failed"), 15)
    print(said[0])
    assert host.stop(10) == 0
