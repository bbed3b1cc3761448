"""The servers, one of each for the whole run, and what a test starts with. tests/real.sh sets the environment."""

import os
import uuid
from pathlib import Path

import pytest

from glue import Glue
from host import Tidemill
from kafka import Kafka
from lake import Bucket, Lake
from process import Process
from proxy import Proxy
from s3 import S3


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    kafka = Kafka(tmp_path_factory.mktemp("kafka") / "broker", os.environ["TIDEMILL_TEST_KAFKA"])
    yield kafka
    kafka.process.stop(30)


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    s3 = S3(tmp_path_factory.mktemp("s3"), os.environ["TIDEMILL_TEST_VERSITYGW"])
    yield s3
    s3.process.stop(30)


@pytest.fixture(scope="session")
def glue(tmp_path_factory):
    glue = Glue(tmp_path_factory.mktemp("glue"))
    yield glue
    glue.process.stop(30)


@pytest.fixture(scope="session")
def transforms():
    """The transforms that ship, as components."""
    return Path(os.environ["TIDEMILL_TEST_TRANSFORMS"])


@pytest.fixture(scope="session")
def tidemill(tmp_path_factory, kafka, s3, glue, transforms):
    return Tidemill(tmp_path_factory.mktemp("tidemill"), kafka, s3, glue, transforms)


@pytest.fixture(scope="session")
def buckets(s3):
    """Makes a lake in two fresh buckets on S3."""
    return lambda name: Lake(Bucket(s3, f"{name}-raw"), Bucket(s3, f"{name}-processed"))


@pytest.fixture
def proxy(s3):
    """Trouble on the way to S3, for who is given its address."""
    proxy = Proxy(s3.port, seed=7)
    yield proxy
    proxy.close()


@pytest.fixture
def name():
    """A fresh name for a topic, a group and a lake."""
    return f"t-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def disk(tmp_path):
    """A lake in two fresh folders."""
    return Lake.within(tmp_path)


@pytest.fixture(autouse=True)
def nothing_outlives_its_test(request):
    """Processes that a test started itself end with it; those of fixtures end with them."""
    for fixture in ("tidemill", "job"):  # started before the test's own
        if fixture in request.fixturenames:
            request.getfixturevalue(fixture)
    before = len(Process.all)
    yield
    for process in Process.all[before:]:
        if process.alive():
            process.kill()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of what each process said, unless an earlier one did."""
    report = yield
    if report.failed:
        # What passed tests left is gone.
        for process in (process for process in Process.all if process.stderr_path.exists()):
            state, said = "running" if process.alive() else f"ended with {process.code}", process.stderr
            if process.shown != (state, said):
                process.shown = state, said
                report.sections.append((f"{process.name} ({state}) in {process.folder}",
                                        f"{' '.join(process.argv)}\n{said[-3000:]}"))
    return report
