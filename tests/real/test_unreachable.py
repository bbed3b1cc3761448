"""What cannot be reached is named within 10 s, with the setting that points to it, and is tried again."""

import re
import signal

from process import free_port, until

# The setting as a word of its own (`raw`, `--raw`), not as a part of a name such as user-events-raw.
SETTING = r"(?<![\w/-])(?:--)?(?:{})(?![\w-])"


def one_line(*parts):
    """Matches a line that holds all parts in any order."""
    return re.compile("".join(rf"(?=.*{part})" for part in parts) + ".*")


def test_an_unreachable_broker_is_named(tidemill, disk, name):
    address = f"127.0.0.1:{free_port()}"
    host = tidemill("run", "--brokers", address, "--topic", name, "--group", name, *disk.arguments(),
                    "--transforms", tidemill.transforms, "--catalog", "local")
    host.says(one_line(re.escape(address), SETTING.format("brokers")), 10)
    assert host.alive(), f"it must go on trying, but ended with {host.code}: {host.stderr}"
    assert host.stop(10) == 0


def closed_bucket(tidemill, kafka, buckets, name):
    """A host with events to write and nobody where S3 should be; what it said; the address."""
    kafka.create(name)
    produce = tidemill.produce(name, 1_000)
    assert produce.wait(30) == 0
    address = f"127.0.0.1:{free_port()}"
    host = tidemill.run(name, name, buckets(name), "--catalog", "none",
                        env={"AWS_ENDPOINT_URL_S3": f"http://{address}"})
    host.says(one_line(re.escape(address), SETTING.format("raw|processed")), 10)
    assert host.alive(), f"it must go on trying, but ended with {host.code}: {host.stderr}"
    return host


def test_an_unreachable_bucket_is_named(tidemill, kafka, buckets, name):
    host = closed_bucket(tidemill, kafka, buckets, name)
    assert host.stop(10) >= 0, "it was to end by itself"


def test_a_second_signal_ends_a_host_at_once(tidemill, kafka, buckets, name):
    host = closed_bucket(tidemill, kafka, buckets, name)

    def impatient():
        host.signal(signal.SIGTERM)
        return not host.alive()

    until(impatient, 2, "the host is gone", every=0.2)


def test_a_missing_bucket_is_named(tidemill, kafka, buckets, s3, name):
    kafka.create(name)
    produce = tidemill.produce(name, 1_000)
    assert produce.wait(30) == 0
    lake = buckets(name)
    s3.client.delete_bucket(Bucket=lake.raw.name)
    host = tidemill.run(name, name, lake, "--catalog", "none")
    host.says(one_line(re.escape(lake.raw.name), SETTING.format("raw|processed")), 10)
