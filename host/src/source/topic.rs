//! The id of a topic, by which one that was created anew under the same name is told from the old one.
//!
//! `rdkafka` has no call for it, librdkafka has (`rd_kafka_DescribeTopics`, since 2.3): hence the foreign calls.

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka_sys as sys;

use super::admin::{Question, ask};
use crate::{Error, Result};

/// The id that the brokers gave a topic; none: they give none (Kafka before 2.8), or not to us.
#[allow(unsafe_code)]
pub(super) fn id<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    wait: Duration,
) -> Result<Option<String>> {
    let name = CString::new(topic)
        .map_err(|_| Error::usage(format!("{topic:?} is no name for a topic (setting `topic`)")))?;
    let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    let client = consumer.client().native_ptr();
    // Who is asked is the controller. The embedded broker names one that does not exist; elsewhere one may be
    // missing for a moment.
    for attempt in 0.. {
        // SAFETY: the client outlives the call, as `consumer` is borrowed.
        let controller = unsafe { sys::rd_kafka_controllerid(client, millis) };
        let metadata = consumer.fetch_metadata(Some(topic), wait).map_err(|e| Error::retry(e.to_string()))?;
        if controller < 0 || metadata.brokers().iter().any(|broker| broker.id() == controller) {
            break;
        }
        if attempt == 3 {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut names = [name.as_ptr()];
    // SAFETY: librdkafka copies the name.
    let topics = unsafe { sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1) };
    let found = ask(
        consumer,
        Question::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        wait,
        // SAFETY: all of it is alive during the call, and librdkafka copies the collection.
        |client, options, queue| unsafe { sys::rd_kafka_DescribeTopics(client, topics, options, queue) },
        // SAFETY: the answer is alive and nobody else has it.
        |event| unsafe { of_event(event) },
    );
    // SAFETY: it was made above, is never null for one name, and is not needed any more.
    unsafe { sys::rd_kafka_TopicCollection_destroy(topics) };
    found.map_err(|why| Error::retry(format!("cannot ask for the id of topic {topic}: {why}")))
}

/// The id in an answer; `Err`: it is none, ask again.
///
/// # Safety
/// `event` must be a live event that nobody else destroys meanwhile.
#[allow(unsafe_code)]
unsafe fn of_event(event: *mut sys::rd_kafka_event_t) -> Result<Option<String>, String> {
    // SAFETY: the caller keeps `event` alive, and with it all that is read here; lengths are librdkafka's own.
    unsafe {
        let error = sys::rd_kafka_event_error(event);
        if error == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE {
            return Ok(None);
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() || error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            let why = sys::rd_kafka_event_error_string(event);
            return Err(if why.is_null() {
                format!("{error:?}")
            } else {
                CStr::from_ptr(why).to_string_lossy().into()
            });
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, ptr::addr_of_mut!(count));
        if topics.is_null() || count == 0 {
            return Ok(None);
        }
        let error = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(*topics));
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(format!("{error:?}"));
        }
        let uuid = sys::rd_kafka_TopicDescription_topic_id(*topics);
        if uuid.is_null() {
            return Ok(None);
        }
        // All zeros: the broker knows no ids.
        if sys::rd_kafka_Uuid_most_significant_bits(uuid) == 0
            && sys::rd_kafka_Uuid_least_significant_bits(uuid) == 0
        {
            return Ok(None);
        }
        let text = sys::rd_kafka_Uuid_base64str(uuid);
        if text.is_null() {
            return Ok(None);
        }
        Ok(Some(CStr::from_ptr(text).to_string_lossy().into_owned()))
    }
}
