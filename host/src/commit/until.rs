//! Tells when a run that ends by itself has reached its end.

use std::collections::BTreeMap;

use super::{Offsets, Until};
use crate::Result;

/// Whether the group, all members together, has committed up to the ends.
pub(super) fn reached(until: &Until, offsets: &dyn Offsets) -> Result<bool> {
    let Some(ends) = until else { return Ok(false) };
    let partitions: Vec<i32> = ends.keys().copied().collect();
    Ok(done(until, &offsets.committed(&partitions)?))
}

fn done(until: &Until, committed: &BTreeMap<i32, Option<i64>>) -> bool {
    until.as_ref().is_some_and(|ends| {
        ends.iter().all(|(partition, (low, high))| {
            // Where nothing is committed, there is nothing to do only if there is nothing.
            committed.get(partition).copied().flatten().unwrap_or(*low) >= *high
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_partitions_must_be_there() {
        let until = Some([(0, (0, 5)), (1, (3, 3))].into());
        assert!(!done(&until, &[(0, Some(4)), (1, None)].into()));
        assert!(done(&until, &[(0, Some(5)), (1, None)].into()));
        assert!(!done(&until, &[(1, None)].into()));
        assert!(!done(&None, &BTreeMap::new()));
    }
}
