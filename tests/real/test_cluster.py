"""A cluster of three brokers, each of which is killed in its turn while events stream in: leaders and the coordinator of
the group move, and every event is there once. Three JVMs on two cores: TIDEMILL_TEST_CLUSTER=1 runs it."""

import os
import time
from collections import Counter

import pytest

from cluster import NODES, Cluster
from pipeline import Pipeline
from process import until
from ways import WAYS

pytestmark = pytest.mark.skipif(os.environ.get("TIDEMILL_TEST_CLUSTER") != "1", reason="TIDEMILL_TEST_CLUSTER is not 1")
RATE = 2_000


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path / "cluster", os.environ["TIDEMILL_TEST_KAFKA"])
    yield cluster
    cluster.stop()


@pytest.mark.parametrize("way", WAYS)
def test_leaders_move_and_no_event_is_lost_or_doubled(tidemill, cluster, disk, name, way):
    tidemill = tidemill.fetching(way)
    tidemill.kafka = cluster
    cluster.create(name)
    produce = tidemill.produce(name, 0, rate=RATE)
    pipeline = Pipeline(tidemill, name, name, disk, "--catalog", "local")
    host = pipeline.run()

    def rows():
        return Counter(p for p, _ in disk.offsets(pipeline.raw, "partition", "offset"))

    until(lambda: len(rows()) == 3, 30, "rows of all partitions", alive=[host, produce])
    moved = 0
    for node in NODES:
        led = [partition for partition, leader in cluster.leaders(name).items() if leader == node]
        cluster.kill(node)
        killed = time.monotonic()
        until(lambda: node not in cluster.leaders(name).values(), 30, f"others lead what broker {node} led")
        # Events that only the new leaders have.
        ends = cluster.ends(name)
        until(lambda: all(rows()[p] > end for p, end in ends.items()), 60, "rows of all partitions beyond",
              alive=[host, produce])
        print(f"{way}: broker {node} led {led}; rows of all partitions again after {time.monotonic() - killed:.1f} s")
        moved += len(led)
        cluster.start(node)
        until(lambda: cluster.whole(name), 60, f"broker {node} has all of it again")
    assert moved >= 3, "each partition was to move"
    assert produce.stop(60) == 0
    ends = cluster.ends(name)
    until(lambda: sum(rows().values()) >= sum(ends.values()), 60, "all events are in the raw zone", alive=[host])
    assert host.stop(20) == 0
    print(f"{way}: {sum(ends.values())} events, {moved} moves, {pipeline.exact(ends)}")
    assert pipeline.proven().events == sum(ends.values())
