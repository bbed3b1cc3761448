//! The one place from which the host takes time and randomness, so that a simulation can own both.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// Microseconds in an hour.
pub const HOUR: Micros = 3_600_000_000;

/// Where time and fresh identifiers come from.
pub trait World: Send + Sync {
    /// The time of the wall clock.
    fn now(&self) -> Micros;
    /// An identifier that nobody else makes: 32 lower-case hexadecimal digits that sort by time.
    fn fresh_id(&self) -> String;
    /// Waits. By default on tokio's clock.
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// A shared [`World`].
pub type Env = Arc<dyn World>;

/// The machine's own clock and randomness.
pub struct Machine;

impl World for Machine {
    fn now(&self) -> Micros {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
    }

    fn fresh_id(&self) -> String {
        uuid::Uuid::now_v7().simple().to_string()
    }
}

/// How long this thread has been at work, on its processor.
pub fn busy() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

/// How long all threads of this process have been at work, on all processors.
pub fn busy_all() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

/// The machine's own clock and randomness, ready to share.
pub fn machine() -> Env {
    Arc::new(Machine)
}
