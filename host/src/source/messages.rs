//! Messages of one partition, many at a time.
//!
//! `rdkafka` hands over one message a call, for which librdkafka takes several locks and tells the broker's thread that
//! somebody has polled. It can hand over all that it has at once (`rd_kafka_consume_batch_queue`), which `rdkafka` has
//! no call for: hence the foreign calls. They stay in this file; what leaves it is a slice or a number.
//!
//! The argument for all of them: a message belongs to whoever was handed it until `rd_kafka_message_destroy`, on any
//! thread, and what its pointers point to lives as long. [`Messages`] destroys each message once, when it is passed or
//! when the rest is dropped; it holds the client, which librdkafka wants to be there until then. Slices borrow
//! the [`Message`], which cannot outlive the closure that it is shown to.

use std::ffi::{CStr, CString};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka_sys as sys;

use super::client::Context;
use super::collect::Event;
use crate::{Error, Result};

/// So many messages are handed over at once, at most.
const MOST: usize = 1000;

/// What librdkafka says instead of a message.
pub(super) use sys::rd_kafka_resp_err_t as Code;

/// The queue of one partition, split off from that of the consumer.
pub(super) struct PartitionQueue {
    queue: *mut sys::rd_kafka_queue_t,
    /// After the queue: it is dropped later.
    consumer: Arc<BaseConsumer<Context>>,
}

// SAFETY: librdkafka's queues have a lock of their own and belong to no thread.
#[allow(unsafe_code)]
unsafe impl Send for PartitionQueue {}

impl PartitionQueue {
    /// From now on what comes for this partition comes here only, also if it is not assigned yet.
    #[allow(unsafe_code)]
    pub(super) fn split(
        consumer: &Arc<BaseConsumer<Context>>,
        topic: &str,
        partition: i32,
    ) -> Result<PartitionQueue> {
        let none = || Error::stop(format!("partition {partition} of topic {topic} has no queue"));
        let name = CString::new(topic).map_err(|_| none())?;
        let client = consumer.client().native_ptr();
        // SAFETY: the client is alive, as `consumer` is; librdkafka copies the name. The queue is ours until it is
        // destroyed in `drop`, and it is not null where it is used.
        let queue = unsafe { sys::rd_kafka_queue_get_partition(client, name.as_ptr(), partition) };
        if queue.is_null() {
            return Err(none());
        }
        // SAFETY: as above; forwarding to nothing means that it keeps what it is given.
        unsafe { sys::rd_kafka_queue_forward(queue, ptr::null_mut()) };
        Ok(PartitionQueue { queue, consumer: consumer.clone() })
    }

    /// Takes what is there. If there is nothing, waits for one message.
    pub(super) fn take(&self, wait: Duration, into: &mut Messages) {
        self.fetch(Duration::ZERO, MOST, into);
        if into.is_empty() && !wait.is_zero() {
            self.fetch(wait, 1, into);
        }
    }

    /// Without a message within `wait`, none; with a `wait`, not before there are `most`.
    #[allow(unsafe_code)]
    fn fetch(&self, wait: Duration, most: usize, into: &mut Messages) {
        into.clear();
        into.client.get_or_insert_with(|| self.consumer.clone());
        into.found.resize(most, ptr::null_mut());
        let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive, and there is room for so many pointers. Those that are filled are ours.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue, millis, into.found.as_mut_ptr(), into.found.len())
        };
        into.found.truncate(usize::try_from(count).unwrap_or(0));
    }

    /// Why the client gave up.
    #[allow(unsafe_code)]
    pub(super) fn fatal(&self) -> String {
        let mut text = [0; 512];
        // SAFETY: the client is alive; librdkafka ends what it writes with a zero, within the room that it is given.
        unsafe {
            sys::rd_kafka_fatal_error(self.consumer.client().native_ptr(), text.as_mut_ptr(), text.len());
            CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
        }
    }
}

impl Drop for PartitionQueue {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: it was ours since `split`, and the consumer that it is of is still alive.
        unsafe { sys::rd_kafka_queue_destroy(self.queue) };
    }
}

/// Messages that were handed over and that nobody has looked at yet, in order. Those that are left go back when it is
/// dropped.
#[derive(Default)]
pub(super) struct Messages {
    found: Vec<*mut sys::rd_kafka_message_t>,
    /// The first that was not looked at.
    next: usize,
    client: Option<Arc<BaseConsumer<Context>>>,
}

// SAFETY: a message belongs to no thread.
#[allow(unsafe_code)]
unsafe impl Send for Messages {}

impl Messages {
    pub(super) fn is_empty(&self) -> bool {
        self.next == self.found.len()
    }

    /// Shows the next message, which is gone afterwards; none: there is none.
    #[allow(unsafe_code)]
    pub(super) fn next<T>(&mut self, look: impl FnOnce(Result<Message<'_>, Code>) -> T) -> Option<T> {
        let message = *self.found.get(self.next)?;
        self.next += 1;
        let gone = Gone(message);
        // SAFETY: librdkafka fills the array with messages, which are ours until they are destroyed: `gone` does that,
        // when nobody has a borrow of this one any more, and nobody else, since `next` has moved on.
        let shown = unsafe { &*gone.0 };
        Some(match shown.err {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => look(Ok(Message(shown))),
            code => look(Err(code)),
        })
    }

    fn clear(&mut self) {
        while self.next(|_| ()).is_some() {}
        self.found.clear();
        self.next = 0;
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Gives a message back.
struct Gone(*mut sys::rd_kafka_message_t);

impl Drop for Gone {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the one who made it says that the message is ours, and that this is the end of it.
        unsafe { sys::rd_kafka_message_destroy(self.0) };
    }
}

/// A message that is being looked at. It is no error, so its fields are those of an event.
#[derive(Clone, Copy)]
pub(super) struct Message<'a>(&'a sys::rd_kafka_message_t);

impl Event for Message<'_> {
    fn offset(&self) -> i64 {
        self.0.offset
    }

    #[allow(unsafe_code)]
    fn time(&self) -> Option<i64> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        let time = unsafe { sys::rd_kafka_message_timestamp(self.0, &raw mut kind) };
        let none = kind == sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        Some(time).filter(|time| *time != -1 && !none)
    }

    #[allow(unsafe_code)]
    fn key(&self) -> Option<&[u8]> {
        // SAFETY: pointer and length are of one field of a message that lives as long as the borrow.
        unsafe { slice(self.0.key, self.0.key_len) }
    }

    #[allow(unsafe_code)]
    fn value(&self) -> Option<&[u8]> {
        // SAFETY: as above.
        unsafe { slice(self.0.payload, self.0.len) }
    }

    #[allow(unsafe_code)]
    fn headers(&self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive, and what is found belongs to it.
        let found = unsafe { sys::rd_kafka_message_headers(self.0, &raw mut headers) };
        if found != Code::RD_KAFKA_RESP_ERR_NO_ERROR || headers.is_null() {
            return;
        }
        for at in 0.. {
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers live as long as the message; beyond the last one it says so and writes nothing.
            let found = unsafe {
                sys::rd_kafka_header_get_all(headers, at, &raw mut name, &raw mut value, &raw mut length)
            };
            if found != Code::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
                return;
            }
            // SAFETY: librdkafka ends names with a zero; value and length are of one header.
            unsafe { each(CStr::from_ptr(name).to_bytes(), slice(value, length)) };
        }
    }
}

/// The bytes of a field; a null pointer is null.
///
/// # Safety
/// `from` is null, or `length` bytes behind it can be read and do not change for `'a`.
#[allow(unsafe_code)]
unsafe fn slice<'a>(from: *const std::ffi::c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!from.is_null()).then(|| unsafe { std::slice::from_raw_parts(from.cast(), length) })
}
