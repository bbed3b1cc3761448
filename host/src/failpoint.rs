//! Named points at which a test can kill the process: only in builds with the feature `failpoints`.
//!
//! `TIDEMILL_FAILPOINT=NAME` or `NAME:N` in the environment kills it with SIGKILL the Nth time that it comes by.
//! The tests in `tests/real` do so at every point of a commit. Without the feature a point is nothing.

/// A point at which a test may kill the process.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        crate::failpoint::reached($name);
    };
}
pub(crate) use failpoint;

/// Kills the process if it is to die here.
#[cfg(feature = "failpoints")]
pub(crate) fn reached(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static LEFT: AtomicU64 = AtomicU64::new(0);

    let Ok(wanted) = std::env::var("TIDEMILL_FAILPOINT") else { return };
    let (wanted, times) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if wanted != name {
        return;
    }
    let times: u64 = times.parse().unwrap_or(1);
    if LEFT.fetch_add(1, Ordering::SeqCst) + 1 == times {
        eprintln!("failpoint {name}");
        let me = rustix::process::getpid();
        // It cannot fail for oneself; if it does, the test misses its kill.
        let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}
