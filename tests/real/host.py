"""The tidemill binary, as a user starts it."""

import copy
import os
import shutil
from pathlib import Path

from process import Process
from s3 import REGION

BINARY = Path(os.environ["TIDEMILL_BIN"])

# Who fetches events, where a test does not say it.
FETCH = os.environ.get("TIDEMILL_TEST_FETCH", "librdkafka")


def failing():
    """The binary that kills itself where it is told to. A test that needs it fails without it: no fault goes untested."""
    path = os.environ.get("TIDEMILL_FAILPOINT_BIN")
    assert path, "TIDEMILL_FAILPOINT_BIN is not set: it names a tidemill built with the cargo feature `failpoints`"
    return Path(path)


class Tidemill:
    """Starts the binary. Its environment holds nothing that a test does not say, so no setting of the machine leaks in."""

    def __init__(self, folder, kafka, s3, glue, transforms):
        self.folder, self.kafka, self.transforms = folder, kafka, transforms
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_ENDPOINT_URL_S3": s3.url,
            "AWS_ENDPOINT_URL_GLUE": glue.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            # Tests read the log; and hosts side by side would want the same port.
            "TIDEMILL_LOG_FORMAT": "human",
            "TIDEMILL_HTTP": "off",
            "TIDEMILL_FETCH": FETCH,
        }
        self.started = 0

    def __call__(self, command, *arguments, binary=BINARY, **env):
        """Starts `tidemill COMMAND ARGUMENTS` and returns at once."""
        self.started += 1
        name = f"tidemill-{command}-{self.started}"
        return Process(name, [binary, command, *arguments], {**self.env, **env}, self.folder / name)

    def fetching(self, who):
        """The same, whose hosts get events from librdkafka or fetch them themselves."""
        ours = copy.copy(self)
        ours.env = {**self.env, "TIDEMILL_FETCH": who}
        return ours

    def with_transforms(self, folder):
        """The same, with a copy of the transforms in that folder, which a test may change."""
        ours = copy.copy(self)
        ours.transforms = folder
        shutil.copytree(self.transforms, folder, ignore=lambda _, names: [n for n in names if ".wasm" not in n])
        return ours

    def produce(self, topic, count, rate=0, **env):
        """Starts the generator with the suite's usual share of bad events."""
        return self("produce", "--brokers", self.kafka.brokers, "--topic", topic, "--count", count,
                    "--bad", "0.01", "--seed", "7", "--rate", rate, **env)

    def run(self, topic, group, lake, *arguments, interval="1s", failpoint=None, env={}):
        """Starts a host that commits each second. With a failpoint, NAME or NAME:N, it dies there the Nth time."""
        how = {}
        if failpoint:
            how = {"binary": failing(), "TIDEMILL_FAILPOINT": failpoint}
            arguments = *arguments, "-X", "session.timeout.ms=6000"  # so that its group soon forgets it
        return self("run", "--brokers", self.kafka.brokers, "--topic", topic, "--group", group, *lake.arguments(),
                    "--transforms", self.transforms, "--commit-interval", interval, *arguments, **how, **env)


def cost(process):
    """One line on what a process took."""
    r = process.rusage
    return (f"{process.name}: {process.seconds:.1f} s, {r.ru_utime + r.ru_stime:.2f} CPU-s, "
            f"{r.ru_maxrss / 1024:.0f} MiB at its peak")
