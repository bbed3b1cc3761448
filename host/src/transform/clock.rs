//! How long a call may take, in time on its thread's processor: a machine that is busy with something else, or a host
//! that was stopped and went on, is not the guest's fault. A guest cannot sleep, so no other time need be watched.

use std::time::Duration;

use crate::env::busy;

/// What a call may take, and since when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    began: Duration,
    most: Duration,
}

impl Allowance {
    /// From now on, on this thread.
    pub(super) fn new(most: Duration) -> Allowance {
        Allowance { began: busy(), most }
    }

    /// Whether it is used up. To be asked on the same thread.
    pub(super) fn spent(&self) -> bool {
        self.took() >= self.most
    }

    /// How long it took until now.
    pub(super) fn took(&self) -> Duration {
        busy().saturating_sub(self.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_costs_nothing_and_work_does() {
        let allowance = Allowance::new(Duration::from_millis(20));
        std::thread::sleep(Duration::from_millis(30));
        assert!(!allowance.spent(), "it slept: {:?}", allowance.took());
        let mut n = 0u64;
        while !allowance.spent() {
            n = std::hint::black_box(n + 1);
        }
        assert!(allowance.took() >= Duration::from_millis(20) && n > 0);
    }
}
