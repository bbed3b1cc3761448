"""Three brokers of Apache Kafka that replicate to each other: leaders move when one of them dies."""

import base64
import os
import subprocess
import uuid

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from kafka import LOGGING, Kafka
from process import Process, free_port, listens, until

NODES = 1, 2, 3
PROPERTIES = """
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=3
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
min.insync.replicas=2
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
broker.session.timeout.ms=3000
replica.lag.time.max.ms=3000
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
"""


class Cluster(Kafka):
    """What tests ask of one broker they may ask of three, but what is on its disk."""

    def __init__(self, folder, jars):
        self.folder = folder
        self.ports, controllers = ({node: free_port() for node in NODES} for _ in range(2))
        voters = ",".join(f"{node}@127.0.0.1:{controllers[node]}" for node in NODES)
        java = ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*",
                f"-Dlog4j2.configurationFile={LOGGING}"]
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "a")
        self.commands, self.nodes, self.starts = {}, {}, 0
        for node in NODES:
            home = folder / f"node-{node}"
            home.mkdir(parents=True)
            config = home / "server.properties"
            config.write_text(PROPERTIES.format(node=node, voters=voters, port=self.ports[node],
                                                controller=controllers[node], data=home / "data"))
            subprocess.run([*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", config],
                           check=True, timeout=60, stdout=subprocess.DEVNULL)
            self.commands[node] = [*java, "kafka.Kafka", config]
        # A node alone listens only when there is a majority.
        for node in NODES:
            self._launch(node)
        for node in NODES:
            self._wait(node)
        self.brokers = ",".join(f"127.0.0.1:{port}" for port in self.ports.values())
        self.client = {"bootstrap.servers": self.brokers, "log_level": 2}
        self.admin = AdminClient(self.client)
        until(lambda: len(self.admin.list_topics(timeout=10).brokers) == len(NODES), 60, "three brokers know each other")

    def _launch(self, node):
        self.starts += 1
        home = self.folder / f"node-{node}" / f"start-{self.starts}"
        self.nodes[node] = Process(f"kafka-{node}", self.commands[node], os.environ, home)

    def _wait(self, node):
        until(lambda: listens(self.ports[node]), 60, f"broker {node} listens", alive=[self.nodes[node]])

    def create(self, topic, partitions=3, **config):
        self.admin.create_topics([NewTopic(topic, partitions, 3, config=config)])[topic].result(30)
        until(lambda: self.whole(topic), 30, "all replicas are there")

    def _partitions(self, topic):
        return self.admin.list_topics(topic, timeout=10).topics[topic].partitions

    def leaders(self, topic):
        """{partition: broker}"""
        return {number: partition.leader for number, partition in self._partitions(topic).items()}

    def whole(self, topic):
        """Whether all brokers have all of it."""
        partitions = self._partitions(topic)
        return partitions and all(len(partition.isrs) == len(NODES) for partition in partitions.values())

    def ends(self, topic):
        """{partition: end offset}, as soon as those who have just become leaders know it."""
        def ask():
            try:
                return super(Cluster, self).ends(topic)
            except KafkaException as e:
                if e.args[0].code() not in (KafkaError.OFFSET_NOT_AVAILABLE, KafkaError.LEADER_NOT_AVAILABLE,
                                            KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError._TRANSPORT):
                    raise
        return until(ask, 30, "the brokers know the ends")

    def kill(self, node):
        """SIGKILL."""
        self.nodes[node].kill()

    def start(self, node):
        self._launch(node)
        self._wait(node)

    def stop(self):
        for process in self.nodes.values():
            process.kill()
