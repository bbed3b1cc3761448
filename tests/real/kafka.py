"""Apache Kafka: one broker in KRaft mode, and what the tests ask of it."""

import base64
import os
import struct
import subprocess
import time
import uuid
from pathlib import Path

from confluent_kafka import ConsumerGroupState, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from process import free_port, start_server, until

LOGGING = Path(__file__).with_name("log4j2.properties")
LARGEST = 20_000_000  # bytes of one message
SASL_USER, SASL_PASSWORD = "ada", uuid.uuid4().hex  # who may use the listener that asks for it

PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},SSL://127.0.0.1:{tls_port},SASL://127.0.0.1:{sasl_port},CONTROLLER://127.0.0.1:{controller}{more}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SSL://127.0.0.1:{tls_port},SASL://127.0.0.1:{sasl_port}{more}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL:SASL_PLAINTEXT{protocols}
sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
  user_{sasl_user}="{sasl_password}";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true
inter.broker.listener.name=PLAINTEXT
ssl.keystore.location={keystore}
ssl.keystore.password={password}
ssl.key.password={password}
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
message.max.bytes={largest}
replica.fetch.max.bytes={largest}
log.retention.hours=-1
{properties}
"""


def certificate(folder):
    """A key pair made on the spot: its store, the store's password, and the certificate as a client trusts it."""
    store, password, trusted = folder / "broker.p12", uuid.uuid4().hex, folder / "broker.pem"
    keytool = ["keytool", "-keystore", store, "-storetype", "PKCS12", "-storepass", password, "-alias", "broker"]
    for action in (["-genkeypair", "-keyalg", "EC", "-validity", "2", "-dname", "CN=127.0.0.1", "-ext", "SAN=IP:127.0.0.1"],
                   ["-exportcert", "-rfc", "-file", trusted]):
        subprocess.run([*keytool, *action], check=True, timeout=60, capture_output=True)
    return store, password, trusted


class Kafka:
    def __init__(self, folder, jars, listeners={}, properties="", jvm=()):
        """`listeners` are further ones, {name: protocol}, with their `properties` and what the JVM needs for them."""
        self.data, self.port = folder / "data", free_port()
        tls_port, sasl_port = free_port(), free_port()
        folder.mkdir(parents=True)
        keystore, password, self.ca = certificate(folder)
        self.addresses = {name: f"127.0.0.1:{free_port()}" for name in listeners}
        more = "".join(f",{name}://{address}" for name, address in self.addresses.items())
        protocols = "".join(f",{name}:{protocol}" for name, protocol in listeners.items())
        config = folder / "server.properties"
        config.write_text(PROPERTIES.format(port=self.port, tls_port=tls_port, sasl_port=sasl_port,
                                            controller=free_port(), data=self.data, largest=LARGEST,
                                            keystore=keystore, password=password, sasl_user=SASL_USER,
                                            sasl_password=SASL_PASSWORD, more=more, protocols=protocols,
                                            properties=properties))
        self.folder, self.starts = folder, 0
        java = ["java", "-Xmx768m", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*",
                f"-Dlog4j2.configurationFile={LOGGING}", *jvm]
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "a")
        subprocess.run([*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", config],
                       check=True, timeout=60, stdout=subprocess.DEVNULL)
        self.command = [*java, "kafka.Kafka", config]
        self._start()
        self.brokers, self.tls_brokers = f"127.0.0.1:{self.port}", f"127.0.0.1:{tls_port}"
        self.sasl_brokers = f"127.0.0.1:{sasl_port}"
        self.client = {"bootstrap.servers": self.brokers, "log_level": 2}
        self.admin = AdminClient(self.client)

    def _start(self):
        self.starts += 1
        self.process = start_server("kafka", self.command, os.environ, self.folder / f"start-{self.starts}", self.port)

    def restart(self):
        """SIGTERM, and the same broker again: same data, same ports."""
        self.process.stop(60)
        self._start()

    def create(self, topic, partitions=3, **config):
        self.admin.create_topics([NewTopic(topic, partitions, 1, config=config)])[topic].result(30)

    def grow(self, topic, partitions):
        """Gives a topic more partitions; returns when everybody can see them."""
        self.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(30)
        seen = lambda: len(self.admin.list_topics(topic, timeout=10).topics[topic].partitions) == partitions
        until(seen, 30, f"topic {topic} has {partitions} partitions")

    def producer(self, **config):
        return Producer({**self.client, "acks": "all", "linger.ms": 50, **config})

    def delete(self, topic):
        """Deletes a topic and waits until nobody can see it."""
        self.admin.delete_topics([topic])[topic].result(30)
        until(lambda: topic not in self.admin.list_topics(timeout=10).topics, 30, f"topic {topic} is gone")

    def delete_before(self, topic, partition, offset):
        """Deletes the events of a partition before that offset, as its retention would."""
        wanted = TopicPartition(topic, partition, offset)
        for future in self.admin.delete_records([wanted]).values():
            assert future.result(30).low_watermark == offset

    def ends(self, topic):
        """{partition: end offset}"""
        consumer = self._consumer()
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            return {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions}
        finally:
            consumer.close()

    def events(self, topic):
        """{(partition, offset): message} of everything in the topic."""
        ends, found = self.ends(topic), {}
        consumer = self._consumer()
        try:
            consumer.assign([TopicPartition(topic, p, 0) for p, end in ends.items() if end])
            deadline = time.monotonic() + 60
            while len(found) < sum(ends.values()):
                assert time.monotonic() < deadline, f"{len(found)} of {sum(ends.values())} events of {topic} in 60 s"
                for m in consumer.consume(10_000, timeout=0.2):
                    assert not m.error(), m.error()
                    found[m.partition(), m.offset()] = m
        finally:
            consumer.close()
        return found

    def _describe(self, group):
        """What the broker knows of a group, as soon as it has loaded its groups."""
        def ask():
            try:
                return self.admin.describe_consumer_groups([group], request_timeout=10)[group].result(10)
            except KafkaException as e:
                if e.args[0].code() not in (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.NOT_COORDINATOR):
                    raise
        return until(ask, 10, "the broker has loaded its groups")

    def members(self, group):
        """{member: partitions} of a group whose assignment is settled; none while it is not."""
        described = self._describe(group)
        if described.state != ConsumerGroupState.STABLE:
            return {}
        return {m.member_id: {t.partition for t in m.assignment.topic_partitions} for m in described.members}

    def clients(self, group):
        """{client id: (instance id, partitions)} of all members, whatever the group is doing just now."""
        described = self._describe(group)
        return {m.client_id: (m.group_instance_id, {t.partition for t in m.assignment.topic_partitions})
                for m in described.members}

    def left(self, group):
        """Whether nobody is in the group any more."""
        described = self._describe(group)
        return not described.members and described.state in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)

    def codecs(self, topic):
        """The codecs of the batches on the broker's disk (record batch, bits 0 to 2 of the attributes)."""
        names = ["none", "gzip", "snappy", "lz4", "zstd"]
        found = set()
        for segment in self.data.glob(f"{topic}-*/*.log"):
            data, at = segment.read_bytes(), 0
            while at + 61 <= len(data):
                length, = struct.unpack_from(">i", data, at + 8)
                if length <= 0:
                    break  # the preallocated rest
                attributes, = struct.unpack_from(">h", data, at + 21)
                found.add(names[attributes & 7])
                at += 12 + length
        return found

    def _consumer(self):
        return Consumer({**self.client, "group.id": f"tests-{uuid.uuid4()}",
                         "enable.auto.commit": False, "auto.offset.reset": "error",
                         "fetch.message.max.bytes": LARGEST, "receive.message.max.bytes": 4 * LARGEST})
