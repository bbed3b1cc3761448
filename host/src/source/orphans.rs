//! Partitions that no member of the group has, and that nobody is about to get.
//!
//! In a cooperative rebalance a partition that moves is nobody's between two rounds: its old owner gives it up and
//! joins again, and that begins the round in which it is handed out. A static member that is started anew in between
//! is given what the group has noted for it, without a rebalance. It has nothing to give up, so it would not join
//! again, and the partition would stay without a member until something else moves the group. The same happens to
//! partitions that a topic gets while all its members are away for a moment.
//!
//! Hence a member with a name looks once, when it is given its first partitions, and if some have no member it joins
//! once more ([`Group`](super::Group) does). Members without a name need not: each of their starts is a rebalance.
//!
//! `rdkafka` can only ask every broker for its groups; librdkafka also asks the group's coordinator alone
//! (`rd_kafka_DescribeConsumerGroups`): hence the foreign calls.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use super::admin::{Question, ask};
use crate::{Error, Result};

/// The topic's partitions that no member has; none while the group is about to share them out anyway. Each of its
/// questions takes no longer than `wait`, and little more.
pub(super) fn orphans<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    group: &str,
    topic: &str,
    wait: Duration,
) -> Result<Vec<i32>> {
    let fail =
        |why: String| Error::retry(format!("cannot see who in group {group} has which partitions: {why}"));
    let Some(owned) = owned(consumer, group, topic, wait).map_err(fail)? else {
        return Ok(Vec::new());
    };
    let metadata = consumer.fetch_metadata(Some(topic), wait).map_err(|e| fail(e.to_string()))?;
    let all = metadata.topics().iter().flat_map(|topic| topic.partitions().iter().map(|p| p.id()));
    Ok(all.filter(|partition| !owned.contains(partition)).collect())
}

/// The partitions that members have; none: the group is not settled, or these brokers cannot say.
#[allow(unsafe_code)]
fn owned<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    group: &str,
    topic: &str,
    wait: Duration,
) -> Result<Option<BTreeSet<i32>>, String> {
    let group = CString::new(group).map_err(|e| e.to_string())?;
    let mut names = [group.as_ptr()];
    ask(
        consumer,
        Question::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
        wait,
        // SAFETY: all of it is alive during the call, and librdkafka copies the name.
        |client, options, queue| unsafe {
            sys::rd_kafka_DescribeConsumerGroups(client, names.as_mut_ptr(), 1, options, queue);
        },
        // SAFETY: the answer is alive and nobody else has it.
        |event| unsafe { of_event(event, topic) },
    )
}

fn said(error: sys::rd_kafka_resp_err_t) -> String {
    RDKafkaErrorCode::from(error).to_string()
}

/// The partitions that members have according to an answer.
///
/// # Safety
/// `event` must be a live event that nobody else destroys meanwhile.
#[allow(unsafe_code)]
unsafe fn of_event(event: *mut sys::rd_kafka_event_t, topic: &str) -> Result<Option<BTreeSet<i32>>, String> {
    // SAFETY: the caller keeps `event` alive, and with it all that is read here; pointers are looked at before they
    // are followed, and lengths are librdkafka's own.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event);
        if result.is_null() {
            return Err(said(sys::rd_kafka_event_error(event)));
        }
        let mut count = 0;
        let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, ptr::addr_of_mut!(count));
        if groups.is_null() || count == 0 {
            return Err(said(sys::rd_kafka_event_error(event)));
        }
        let group = *groups;
        match sys::rd_kafka_error_code(sys::rd_kafka_ConsumerGroupDescription_error(group)) {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE => return Ok(None),
            other => return Err(said(other)),
        }
        if sys::rd_kafka_ConsumerGroupDescription_state(group)
            != sys::rd_kafka_consumer_group_state_t::RD_KAFKA_CONSUMER_GROUP_STATE_STABLE
        {
            return Ok(None);
        }
        let mut owned = BTreeSet::new();
        for index in 0..sys::rd_kafka_ConsumerGroupDescription_member_count(group) {
            let member = sys::rd_kafka_ConsumerGroupDescription_member(group, index);
            if member.is_null() {
                continue;
            }
            let list =
                sys::rd_kafka_MemberAssignment_partitions(sys::rd_kafka_MemberDescription_assignment(member));
            if list.is_null() || (*list).elems.is_null() {
                continue;
            }
            let length = usize::try_from((*list).cnt).unwrap_or_default();
            for element in std::slice::from_raw_parts((*list).elems, length) {
                if !element.topic.is_null() && CStr::from_ptr(element.topic).to_bytes() == topic.as_bytes() {
                    owned.insert(element.partition);
                }
            }
        }
        Ok(Some(owned))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::source::Settings;
    use crate::source::embedded::Broker;

    fn look(brokers: String, wait: Duration) -> Result<Vec<i32>> {
        let (topic, group) = ("events".into(), "g".into());
        let settings = Settings { brokers, topic, group, ..Settings::default() };
        orphans(&settings.consumer().unwrap(), "g", "events", wait)
    }

    /// The embedded broker describes no groups. Real ones: `tests/real/test_rebalance.py`.
    #[test]
    fn brokers_that_cannot_say_are_not_asked_for_more() {
        let broker = Broker::start("events", 3).unwrap();
        assert_eq!(look(broker.address(), Duration::from_secs(5)).unwrap(), Vec::<i32>::new());
    }

    #[test]
    fn a_look_ends_although_no_broker_answers() {
        let began = Instant::now();
        let error = look("127.0.0.1:9".into(), Duration::from_millis(500)).unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        assert!(error.to_string().starts_with("cannot see who in group g has which partitions: "), "{error}");
    }
}
