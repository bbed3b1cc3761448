//! Membership in the consumer group.
//!
//! librdkafka tells of a rebalance in a callback; the thread in [`Group::serve`] carries it out: it
//! resolves where each partition begins, splits its queue off *before* it is assigned (so that no
//! message can take the way of the shared queue), and lets the [`Owner`] commit before a partition goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;
use rdkafka::{Message, TopicPartitionList};

use super::client::{Context, Fetch, PATIENCE, Rebalance, Settings};
use super::collect::Collector;
use super::direct::{self, Fetcher};
use super::messages::{Code, PartitionQueue};
use super::orphans::orphans;
use crate::env::Micros;
use crate::failpoint::failpoint;
use crate::{Error, Result};

/// How long a look for partitions without a member may take: partitions wait for it.
const LOOK: Duration = Duration::from_secs(2);

/// A member of the consumer group.
#[derive(Clone)]
pub struct Group {
    consumer: Arc<BaseConsumer<Context>>,
    settings: Arc<Settings>,
    /// Who fetches, if that is not librdkafka.
    fetcher: Option<Arc<Fetcher>>,
}

/// First and last offsets of the topic's partitions: `low..high`.
pub type Ends = BTreeMap<i32, (i64, i64)>;

/// A partition that this member has taken.
pub struct Taken {
    /// Its number.
    pub partition: i32,
    /// The offset at which it begins.
    pub from: i64,
    /// Where its messages arrive.
    pub queue: Queue,
}

/// Who works on the partitions.
pub trait Owner {
    /// Where these partitions go on, which will be ours. An error of the kind [`Retry`](crate::Kind::Retry)
    /// is asked again.
    fn begins(&mut self, partitions: &[i32]) -> Result<BTreeMap<i32, i64>>;
    /// These partitions are now ours. They begin to flow when this returns.
    fn taken(&mut self, partitions: Vec<Taken>) -> Result<()>;
    /// These partitions go: commit what was done for them, or drop it if they are `lost`. They go when
    /// this returns.
    fn released(&mut self, partitions: &[i32], lost: bool);
}

impl Group {
    /// Makes the client; no broker is asked yet.
    pub fn new(settings: Settings) -> Result<Group> {
        let fetcher = match settings.fetch {
            Fetch::Librdkafka => None,
            Fetch::Direct => Some(Arc::new(Fetcher::new(&settings)?)),
        };
        Ok(Group { consumer: Arc::new(settings.consumer()?), settings: Arc::new(settings), fetcher })
    }

    /// The same with so many bytes fetched ahead of each partition: a new client if that are others. For who has not
    /// joined yet.
    pub fn prefetching(self, bytes: usize) -> Result<Group> {
        match self.settings.prefetch == bytes {
            true => Ok(self),
            false => Group::new(Settings { prefetch: bytes, ..(*self.settings).clone() }),
        }
    }

    /// The error of the first question, with what librdkafka knows of its reason.
    fn silent(&self, error: &KafkaError) -> Error {
        // Trouble waits in the queue, behind other events, until somebody polls, and nobody does yet.
        let deadline = Instant::now() + Duration::from_millis(200);
        let mut reason = None;
        while reason.is_none() && Instant::now() < deadline {
            // An error comes by way of the context; there are no messages before there are partitions.
            let _ = self.consumer.poll(Duration::from_millis(10));
            reason = self.consumer.context().reason();
        }
        let error = self.unreachable(error);
        match reason {
            Some(reason) => Error::new(error.kind(), format!("{error}: {reason}")),
            None => error,
        }
    }

    fn unreachable(&self, error: &KafkaError) -> Error {
        // The topic may be missing while the brokers are fine: say which.
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                self.no_topic()
            }
            _ => Error::retry(format!(
                "cannot reach kafka at {} (setting `brokers`): {error}",
                self.settings.brokers
            )),
        }
    }

    fn no_topic(&self) -> Error {
        Error::retry(format!(
            "topic {} does not exist on {} (setting `topic`); `tidemill produce` would create it",
            self.settings.topic, self.settings.brokers
        ))
    }

    /// The topic's partitions with their first and last offsets. Fails within seconds.
    pub fn ends(&self) -> Result<Ends> {
        let topic = &self.settings.topic;
        let metadata = self.consumer.fetch_metadata(Some(topic), PATIENCE).map_err(|e| self.silent(&e))?;
        let partitions: Vec<i32> = match metadata.topics().first() {
            Some(found) if found.error().is_none() => found.partitions().iter().map(|p| p.id()).collect(),
            _ => return Err(self.no_topic()),
        };
        if partitions.is_empty() {
            return Err(self.no_topic());
        }
        let mut ends = Ends::new();
        for partition in partitions {
            let found = self.consumer.fetch_watermarks(topic, partition, PATIENCE);
            ends.insert(partition, found.map_err(|e| self.unreachable(&e))?);
        }
        Ok(ends)
    }

    /// The offsets after the last of these partitions. One question to each broker: it waits behind a fetch that is
    /// under way, so that a question for each partition would take far longer.
    pub fn lasts(&self, partitions: &[i32], most: Duration) -> Result<BTreeMap<i32, i64>> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition_offset(&self.settings.topic, *partition, Offset::End)
                .map_err(|e| Error::stop(format!("the end of partition {partition}: {e}")))?;
        }
        let found = self.consumer.offsets_for_times(list, most).map_err(|e| self.unreachable(&e))?;
        let last = |partition: i32, offset| match offset {
            Offset::Offset(offset) => Some((partition, offset)),
            _ => None,
        };
        Ok(found.elements().iter().filter_map(|e| last(e.partition(), e.offset())).collect())
    }

    /// The first offsets of partitions whose events have this time or a later one; none: there is no such event.
    pub fn since(&self, partitions: &[i32], time: Micros) -> Result<BTreeMap<i32, Option<i64>>> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition_offset(
                &self.settings.topic,
                *partition,
                Offset::Offset(time.div_euclid(1000)),
            )
            .map_err(|e| Error::stop(format!("a time in partition {partition}: {e}")))?;
        }
        let found = self.consumer.offsets_for_times(list, PATIENCE).map_err(|e| self.unreachable(&e))?;
        let first = |offset| match offset {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        Ok(found.elements().iter().map(|e| (e.partition(), first(e.offset()))).collect())
    }

    /// The id of the topic, which another topic of the same name does not have; empty where there are none.
    pub fn topic_id(&self) -> Result<String> {
        Ok(super::topic::id(&self.consumer, &self.settings.topic, PATIENCE)?.unwrap_or_default())
    }

    /// What the group has committed for these partitions; none where it has nothing.
    pub fn committed(&self, partitions: &[i32]) -> Result<BTreeMap<i32, Option<i64>>> {
        let list = self.list(partitions.iter().map(|p| (*p, None)))?;
        let committed = self.consumer.committed_offsets(list, PATIENCE).map_err(|e| self.unreachable(&e))?;
        let mut found = BTreeMap::new();
        for element in committed.elements() {
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            element.error().map_err(|e| self.unreachable(&e))?;
            found.insert(element.partition(), offset);
        }
        Ok(found)
    }

    /// Commits offsets (where to go on) to the group.
    pub fn commit(&self, offsets: &[(i32, i64)]) -> Result<()> {
        let list = self.list(offsets.iter().map(|(p, o)| (*p, Some(*o))))?;
        self.consumer
            .commit(&list, CommitMode::Sync)
            .map_err(|e| Error::retry(format!("cannot commit offsets to group {}: {e}", self.settings.group)))
    }

    /// Takes a partition, whose queue this is, back to an offset.
    pub fn seek(&self, queue: &mut Queue, partition: i32, offset: i64) -> Result<()> {
        if let Way::Direct(queue, _) = &mut queue.0 {
            queue.seek(offset);
            return Ok(());
        }
        self.consumer.seek(&self.settings.topic, partition, Offset::Offset(offset), PATIENCE).map_err(|e| {
            Error::retry(format!("cannot take partition {partition} back to offset {offset}: {e}"))
        })
    }

    fn list(&self, partitions: impl Iterator<Item = (i32, Option<i64>)>) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in partitions {
            let offset = offset.map_or(Offset::Invalid, Offset::Offset);
            list.add_partition_offset(&self.settings.topic, partition, offset)
                .map_err(|e| Error::stop(format!("offset {offset:?} of partition {partition}: {e}")))?;
        }
        Ok(list)
    }

    /// Joins the group and serves it until `stop`. Runs on a thread of its own.
    pub fn serve(&self, owner: &mut dyn Owner, stop: &AtomicBool) -> Result<()> {
        self.consumer.context().serve();
        if let Some(fetcher) = &self.fetcher {
            fetcher.probe()?;
        }
        self.subscribe()?;
        let mut fresh = true;
        while !stop.load(Ordering::SeqCst) {
            match self.consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Ok(message)) => {
                    // Split before it was assigned, a partition has no other way than its own queue.
                    let (partition, offset) = (message.partition(), message.offset());
                    return Err(Error::stop(format!(
                        "an event (partition {partition}, offset {offset}) came past its lane; this is a bug"
                    )));
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return Err(Error::stop(format!("the Kafka client gave up: {code}")));
                }
                Some(Err(e)) => tracing::debug!("kafka: {e}"),
            }
            while let Some(event) = self.consumer.context().next() {
                match self.rebalance(event, owner, &mut fresh) {
                    // What could not be taken is left to others, and that is no error any more.
                    Err(_) if stop.load(Ordering::SeqCst) => return Ok(()),
                    other => other?,
                }
            }
        }
        Ok(())
    }

    fn subscribe(&self) -> Result<()> {
        self.consumer
            .subscribe(&[&self.settings.topic])
            .map_err(|e| Error::stop(format!("cannot subscribe to {}: {e}", self.settings.topic)))
    }

    /// Carries a rebalance out. What a `fresh` member is given may be what the group had noted for its name.
    fn rebalance(&self, event: Rebalance, owner: &mut dyn Owner, fresh: &mut bool) -> Result<()> {
        match event {
            Rebalance::Assign(partitions) => {
                let starts = retry("where to begin", || owner.begins(&partitions))?;
                let mut taken = Vec::with_capacity(starts.len());
                for (partition, from) in &starts {
                    let queue = self.queue(*partition, *from)?;
                    taken.push(Taken { partition: *partition, from: *from, queue });
                }
                let list = self.list(starts.iter().map(|(p, o)| (*p, Some(*o))))?;
                if std::mem::take(fresh) && self.settings.instance.is_some() {
                    self.adopt()?;
                }
                tracing::info!(?starts, "partitions assigned");
                self.consumer
                    .incremental_assign(&list)
                    .map_err(|e| Error::stop(format!("cannot take partitions {partitions:?}: {e}")))?;
                if self.fetcher.is_some() {
                    self.consumer.pause(&list).map_err(|e| {
                        Error::stop(format!("cannot keep librdkafka from fetching {partitions:?}: {e}"))
                    })?;
                }
                owner.taken(taken)
            }
            Rebalance::Revoke { partitions, lost } => {
                tracing::info!(?partitions, lost, "partitions revoked");
                owner.released(&partitions, lost);
                failpoint!("revoked");
                // Whoever lost its partitions joins as one who has just begun.
                *fresh |= lost;
                let list = self.list(partitions.iter().map(|p| (*p, None)))?;
                self.consumer
                    .incremental_unassign(&list)
                    .map_err(|e| Error::stop(format!("cannot give up partitions {partitions:?}: {e}")))
            }
        }
    }

    /// Looks for partitions that no member has, and if there are some joins once more, so that they are shared out.
    ///
    /// To be called while an assignment waits to be taken. librdkafka has no call to join again; but it puts off a
    /// subscription that comes at that moment until the assignment is taken, and then joins with it, even if it is
    /// the same one. What this member has it keeps meanwhile, and it flows.
    fn adopt(&self) -> Result<()> {
        let Settings { group, topic, .. } = &*self.settings;
        match orphans(&self.consumer, group, topic, LOOK) {
            Ok(none) if none.is_empty() => return Ok(()),
            Ok(orphans) => tracing::info!(
                "partitions {orphans:?} of {topic} have no member: asking the group to share them out again"
            ),
            // To ask in vain costs a rebalance in which nothing moves.
            Err(e) => tracing::warn!("{e}; asking the group to share all of them out again"),
        }
        self.subscribe()
    }

    fn queue(&self, partition: i32, from: i64) -> Result<Queue> {
        let queue = PartitionQueue::split(&self.consumer, &self.settings.topic, partition)?;
        Ok(Queue(match &self.fetcher {
            None => Way::Librdkafka(queue),
            Some(fetcher) => Way::Direct(Box::new(direct::Queue::new(fetcher.take(partition, from)?)), queue),
        }))
    }

    /// Leaves the group, so that others take over at once. To be called by the last owner of a queue's
    /// group; blocks for as long as the brokers take.
    pub fn leave(self) {
        self.consumer.context().close();
        self.consumer.unsubscribe();
        drop(self.consumer);
    }
}

/// Asks again while the brokers cannot be reached, for a bounded time.
fn retry<T>(what: &str, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    for attempt in 1.. {
        match ask() {
            Err(e) if e.kind() == crate::Kind::Retry && attempt < 60 => {
                tracing::warn!("cannot find out {what}: {e}; retrying");
                std::thread::sleep(Duration::from_millis(500));
            }
            other => return other,
        }
    }
    unreachable!("the loop returns")
}

/// The messages of one partition.
pub struct Queue(Way);

/// The way that they take.
enum Way {
    Librdkafka(PartitionQueue),
    /// librdkafka's own queue has nothing: it is told not to fetch.
    Direct(
        Box<direct::Queue>,
        #[expect(dead_code, reason = "so that nothing takes the way of the shared queue")] PartitionQueue,
    ),
}

/// What a poll found.
#[derive(Debug, PartialEq, Eq)]
pub enum Polled {
    /// Messages; they are in the collector.
    Messages,
    /// Nothing within the time.
    Nothing,
    /// The offset that comes next is not in the topic any more.
    Gone,
    /// The end of the partition, for who has asked to be told (`enable.partition.eof`).
    End,
    /// The client said that something is wrong, and took that for one more message: whoever goes on must
    /// [seek](Group::seek) to where the collector stands, or a rebalance may go on after a message that never came.
    Trouble,
}

impl Queue {
    /// The queue of a partition, before it is assigned: no message can take another way then.
    pub(super) fn of(consumer: &Arc<BaseConsumer<Context>>, topic: &str, partition: i32) -> Result<Queue> {
        PartitionQueue::split(consumer, topic, partition).map(|queue| Queue(Way::Librdkafka(queue)))
    }

    /// Puts what is there into the collector, up to where it is full; waits for a message if there is none.
    pub fn poll(&mut self, wait: Duration, into: &mut Collector) -> Result<Polled> {
        let queue = match &mut self.0 {
            Way::Librdkafka(queue) => queue,
            Way::Direct(queue, _) => return queue.poll(wait, into),
        };
        if into.rest.is_empty() {
            queue.take(wait, &mut into.rest);
            into.arrive();
        }
        // Away from the collector for as long as it is filled.
        let mut messages = std::mem::take(&mut into.rest);
        let mut polled = Polled::Nothing;
        while !into.full() {
            match messages.next(|message| message.map(|message| into.push(&message))) {
                None => break,
                Some(Ok(())) => polled = Polled::Messages,
                Some(Err(code)) => {
                    // What came behind it comes again.
                    return trouble(queue, code, into);
                }
            }
        }
        into.rest = messages;
        Ok(polled)
    }
}

fn trouble(queue: &PartitionQueue, code: Code, into: &Collector) -> Result<Polled> {
    let (partition, position) = (into.partition(), into.position());
    match code {
        Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE => {
            tracing::debug!(partition, position, "{code:?}");
            Ok(Polled::Gone)
        }
        Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => Ok(Polled::End),
        Code::RD_KAFKA_RESP_ERR__FATAL => {
            Err(Error::stop(format!("the Kafka client gave up: {}", queue.fatal())))
        }
        code => {
            tracing::debug!(partition, position, "kafka: {:?}", RDKafkaErrorCode::from(code));
            Ok(Polled::Trouble)
        }
    }
}
