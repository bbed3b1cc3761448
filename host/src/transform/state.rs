//! What one instance remembers: as of the last commit, of the end of the last epoch and of the last snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::env::Micros;

/// A state with the version of its format; none: there is none.
pub(super) type Kept = Option<(u32, Arc<Vec<u8>>)>;

/// The states of one instance. A careful run takes snapshots at any time, so there are three.
#[derive(Clone, Default)]
pub(super) struct State {
    /// As of the last commit.
    pub(super) committed: Kept,
    /// As of the end of the last epoch, which may be on its way to being committed.
    pub(super) sealed: Kept,
    /// As of the last snapshot.
    pub(super) last: Kept,
    /// Whether the next record must name it: a snapshot since the end of the last epoch gave another one, or it was
    /// taken over from a record, perhaps one of another version of the transform.
    pub(super) changed: bool,
    /// It was warned that the last one comes near to the limit.
    pub(super) full: bool,
}

impl State {
    /// Back to the last commit.
    pub(super) fn rewind(&mut self) {
        (self.sealed, self.last) = (self.committed.clone(), self.committed.clone());
        self.changed = self.committed.is_some();
    }
}

/// What a partition remembers of transforms that it does not run now: they may come back before a record says that they
/// are gone, because a partition falls back, or a file was away for a moment. By name; the event time that their input
/// had reached is as of the last commit, of the end of the last epoch and of now.
pub(super) type Absent = BTreeMap<String, (State, [Micros; 3])>;
