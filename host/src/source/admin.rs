//! Questions to the brokers for which `rdkafka` has no call and librdkafka has: sent, waited for, tidied up.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka_sys as sys;

/// What librdkafka calls a question.
pub(super) use sys::rd_kafka_admin_op_t as Question;

/// Asks once. `send` is given the client, options and the queue for the answer, and must send one question and keep
/// none of them; `read` is given the answer, which is gone when it returns. Takes no longer than `wait`, and little
/// more.
#[allow(unsafe_code)]
pub(super) fn ask<C: ConsumerContext, T>(
    consumer: &BaseConsumer<C>,
    question: Question,
    wait: Duration,
    send: impl FnOnce(*mut sys::rd_kafka_t, *const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    read: impl FnOnce(*mut sys::rd_kafka_event_t) -> Result<T, String>,
) -> Result<T, String> {
    let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    let client = consumer.client().native_ptr();
    // SAFETY: `client` outlives this function, as `consumer` is borrowed. What is made here is destroyed here, once,
    // after its last use: librdkafka copies the options. What is made here is never null for these arguments. The
    // queue is ours alone, so the only event that can arrive is the answer to this question or none.
    unsafe {
        let options = sys::rd_kafka_AdminOptions_new(client, question);
        let queue = sys::rd_kafka_queue_new(client);
        let mut text = [0; 256];
        sys::rd_kafka_AdminOptions_set_request_timeout(options, millis, text.as_mut_ptr(), text.len());
        send(client, options, queue);
        sys::rd_kafka_AdminOptions_destroy(options);
        // Bounded beyond the question's own bound: nothing here waits for ever.
        let event = sys::rd_kafka_queue_poll(queue, millis.saturating_add(1000));
        let found = if event.is_null() { Err("no answer".into()) } else { read(event) };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
        found
    }
}
