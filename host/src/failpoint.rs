//! Named points at which a test can kill or hold the process: only in builds with the feature `failpoints`.
//!
//! `TIDEMILL_FAILPOINT` in the environment names them, with commas between: `NAME` or `NAME:N` kills with SIGKILL the
//! first or Nth time that the process comes by, `NAME=hold` or `NAME:N=hold` holds with SIGSTOP, until SIGCONT. Either
//! is said on stderr first. The tests in `tests/real` do so at every point of a commit. Without the feature a point is
//! nothing.

/// A point at which a test may kill or hold the process.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        crate::failpoint::reached($name);
    };
}
pub(crate) use failpoint;

/// Kills or holds the process if that is to be here.
#[cfg(feature = "failpoints")]
pub(crate) fn reached(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    struct Fault {
        name: String,
        nth: u64,
        holds: bool,
        passed: AtomicU64,
    }
    static FAULTS: LazyLock<Vec<Fault>> = LazyLock::new(|| {
        let wanted = std::env::var("TIDEMILL_FAILPOINT").unwrap_or_default();
        let fault = |text: &str| {
            let (at, holds) = text.strip_suffix("=hold").map_or((text, false), |at| (at, true));
            let (name, nth) = at.split_once(':').unwrap_or((at, "1"));
            Fault { name: name.into(), nth: nth.parse().unwrap_or(1), holds, passed: AtomicU64::new(0) }
        };
        wanted.split(',').map(fault).collect()
    });

    for fault in FAULTS.iter().filter(|fault| fault.name == name) {
        if fault.passed.fetch_add(1, Ordering::SeqCst) + 1 != fault.nth {
            continue;
        }
        // Neither signal can fail for oneself; if it does, the test misses what it waits for.
        if fault.holds {
            eprintln!("held at {name}");
            let _ = kill_process(getpid(), Signal::STOP);
        } else {
            eprintln!("failpoint {name}");
            let _ = kill_process(getpid(), Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }
}
