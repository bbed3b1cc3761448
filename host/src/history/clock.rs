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

/// Whether the time has gone ahead of the last commit, or of the newest event, by more than a lake usually stands
/// still. On a disk the first has the same clock as the store, if that has jumped and was committed with; the second is
/// the brokers' or producers'.
pub(super) fn jumped(lake: &Lake, now: Micros) -> Option<String> {
    let view = lake.log.view();
    ahead(now, view.newest(), view.newest_event())
}

fn ahead(now: Micros, commit: Option<Micros>, event: Option<Micros>) -> Option<String> {
    let old = |time: &Micros| now.saturating_sub(*time) > STILL;
    let days = |time: Micros| now.saturating_sub(time) / (24 * HOUR);
    match (commit.filter(old), event.filter(old)) {
        (Some(commit), _) => Some(format!(
            "the last commit is {} days old: either the pipeline has stood still, or a clock is wrong",
            days(commit)
        )),
        (None, Some(event)) => Some(format!(
            "the newest event was sent {} days ago by its timestamp in kafka, and committed since: either all events are \
             that late, or this machine's clock is wrong",
            days(event)
        )),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_has_jumped_is_found_though_it_was_committed_with() {
        let now = 1000 * 24 * HOUR;
        let found =
            |commit: Micros, event: Option<Micros>| ahead(now, Some(now - commit), event.map(|e| now - e));
        assert_eq!((found(0, None), found(STILL, Some(STILL)), ahead(now, None, None)), (None, None, None));
        assert!(found(STILL + 1, Some(0)).unwrap().starts_with("the last commit is 7 days old"));
        // Every record since the jump says that no time has passed.
        assert!(found(0, Some(90 * 24 * HOUR)).unwrap().starts_with("the newest event was sent 90 days ago"));
        assert_eq!(found(0, Some(-HOUR)), None, "a producer's clock may be ahead");
    }

    #[test]
    fn a_clock_that_is_far_off_is_not_believed() {
        assert!(apart(10 * HOUR, 10 * HOUR + APART).is_ok() && apart(10 * HOUR, 9 * HOUR).is_ok());
        for own in [0, 20 * HOUR] {
            assert!(apart(10 * HOUR, own).unwrap_err().to_string().contains("600 minutes apart"));
        }
    }
}
