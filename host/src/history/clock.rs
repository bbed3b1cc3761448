//! The time, as the store has it (rule M8): what is old enough must not depend on one machine's clock.

use crate::env::{HOUR, Micros};
use crate::pipeline::offline::Lake;
use crate::{Error, Result};

/// How far this machine's clock may be from the store's.
const APART: Micros = HOUR;
/// How long a lake may have stood still before its age is asked about.
const STILL: Micros = 7 * 24 * HOUR;

/// The store's time: a small object is written, and looked at.
pub async fn now(lake: &Lake) -> Result<Micros> {
    let key = lake.keys.clock(&lake.env.fresh_id());
    let store = &lake.stores.processed;
    store.replace(&key, b"").await?;
    let written = store.written(&key).await;
    store.clear(&key, None, None).await?;
    let now = written?.ok_or_else(|| Error::retry(format!("{key} was written and is not there")))?;
    apart(now, lake.env.now())?;
    Ok(now)
}

/// A clock that is wrong by years would make everything old.
fn apart(store: Micros, own: Micros) -> Result<()> {
    if store.abs_diff(own) <= APART.unsigned_abs() {
        return Ok(());
    }
    Err(Error::stop(format!(
        "the store's clock and this machine's are {} minutes apart: nothing is judged by its age until one is set right",
        store.abs_diff(own) / 60_000_000
    )))
}

/// Whether the time has gone ahead of the last commit by more than a lake usually stands still.
pub(super) fn jumped(lake: &Lake, now: Micros) -> Option<String> {
    let view = lake.log.view();
    let last = view.newest()?;
    (now - last > STILL).then(|| {
        format!(
            "the last commit is {} days old: either the pipeline has stood still, or a clock is wrong",
            (now - last) / (24 * HOUR)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_far_off_is_not_believed() {
        assert!(apart(10 * HOUR, 10 * HOUR + APART).is_ok() && apart(10 * HOUR, 9 * HOUR).is_ok());
        for own in [0, 20 * HOUR] {
            assert!(apart(10 * HOUR, own).unwrap_err().to_string().contains("600 minutes apart"));
        }
    }
}
