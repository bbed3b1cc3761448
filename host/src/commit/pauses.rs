//! How soon a service is asked again that fails: at once, and then less and less often.

use std::time::{Duration, Instant};

/// After the second failure in a row; doubled with each.
const FIRST: Duration = Duration::from_secs(1);
/// … up to this.
const LAST: Duration = Duration::from_secs(60);

/// The pauses between the questions to one service. A question that is not answered takes seconds, and who asks has
/// other things to do.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    failures: u32,
    until: Option<Instant>,
}

impl Pauses {
    /// Whether it may be asked.
    pub(super) fn due(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// What came of it.
    pub(super) fn was(&mut self, good: bool, now: Instant) {
        self.failures = if good { 0 } else { self.failures.saturating_add(1) };
        let pause = match self.failures {
            0 | 1 => None,
            n => Some(FIRST.saturating_mul(1 << (n - 2).min(10)).min(LAST)),
        };
        self.until = pause.and_then(|pause| now.checked_add(pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_asked_less_and_less_often_and_its_end_is_seen() {
        let (mut pauses, mut now) = (Pauses::default(), Instant::now());
        let mut asked = Vec::new();
        for second in 0..600_u64 {
            if pauses.due(now) {
                pauses.was(false, now);
                asked.push(second);
            }
            now += Duration::from_secs(1);
        }
        assert_eq!(asked[..8], [0, 1, 2, 4, 8, 16, 32, 64]);
        assert!(asked.windows(2).all(|two| two[1] - two[0] <= 60), "{asked:?}");
        while !pauses.due(now) {
            now += Duration::from_secs(1);
        }
        pauses.was(true, now);
        assert!(pauses.due(now));
    }
}
