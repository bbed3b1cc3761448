//! Batches of generated events, and the clock of a thread: what the benchmarks share.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BinaryArray, Int64Array, TimestampMicrosecondArray};
use tidemill::batch::Delivered;
use tidemill::source::generate::Generator;
use tidemill::table;

const BEGIN: i64 = 1_764_669_600_000_000;

/// The next so many events of a generator, 10,000 a second; `first` is the offset of the first.
pub(crate) fn delivered(generator: &mut Generator, first: usize, rows: usize) -> Arc<Delivered> {
    let (mut key, mut value) = (String::new(), String::new());
    let (mut keys, mut values, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for at in first..first + rows {
        let time = BEGIN + i64::try_from(at).unwrap() * 100;
        generator.next(time, &mut key, &mut value);
        keys.push(key.clone());
        values.push(value.clone());
        times.push(time);
    }
    let from = i64::try_from(first).unwrap();
    Arc::new(Delivered {
        topic: "user-events".into(),
        partition: 0,
        from,
        to: from + i64::try_from(rows).unwrap(),
        offset: (from..).take(rows).collect::<Int64Array>(),
        timestamp: TimestampMicrosecondArray::from(times).with_timezone("UTC"),
        key: BinaryArray::from_iter_values(keys),
        value: BinaryArray::from_iter_values(values),
        headers: table::no_headers(rows),
    })
}

/// The processor time of this thread.
pub(crate) fn thread_time() -> Duration {
    clock(rustix::time::ClockId::ThreadCPUTime)
}

pub(crate) fn clock(id: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(id);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}
