//! The rules of `COMMIT.md` that the simulation can switch off, one at a time, to see that it would notice.
//!
//! In the product every rule is on and this is nothing at all: [`Rules::on`] is `true`, known when compiling.

/// A rule that can be switched off in tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(dead_code, reason = "the simulation switches them by name")]
pub(super) enum Rule {
    /// L1: slots are dense and the tail is the first that is free.
    DenseSlots,
    /// L2: after any re-read every check is made again.
    CheckAgain,
    /// L3: `prev` must be the partition's last record.
    Prev,
    /// L4: after an unanswered PUT the writer stays on the slot.
    Hold,
    /// L5: a slot that others took for their partitions is not a lost race.
    NextSlot,
    /// L6: the first position is itself a record.
    LoggedStart,
    /// L7: clean-up touches only what its own pipeline staged.
    OwnOnly,
    /// F2: Complete is believed only after HEAD shows the file.
    HeadAfter,
    /// F3: a partition's last record is published before its next one.
    PublishBefore,
    /// F3: … which is checked at every slot.
    PublishEachSlot,
    /// F4: last records are published on assignment.
    PublishOnTake,
    /// F5: what the catalog did not take is carried in records.
    Owed,
    /// F6: a missing file is judged on a log that was read after it was missed.
    ReadAfterMissing,
    /// F6: a repair supersedes the missing key.
    RepairSupersedes,
    /// F7: the state in a record is the state before `to`.
    StateWithOffsets,
    /// F8: what was not counted was not delivered.
    CountAll,
    /// M1: a fenced epoch may never become true.
    Fence,
    /// M1: victims are computed anew at every slot.
    VictimsEachSlot,
    /// M2: maintenance records are one chain, each published before the next.
    MaintenanceChain,
    /// M3: a superseded key must be live at the record's slot.
    SupersedeLive,
    /// M3: what a replay has taken away of a last record is known after a summary, too.
    RememberTaken,
    /// M4: files are added to the current generation of their hour.
    Generation,
    /// M4: a flip is of an hour that is still what it was when it was read.
    HourUnchanged,
    /// M4: what came into an hour while it was read goes along.
    CarryLate,
    /// M6: a catalog goes ahead to a later generation, never back by itself, and is looked at again.
    Reconcile,
    /// M6: old generations stay until the catalog shows their hours elsewhere.
    KeepOld,
    /// M5: removing is aborting, then deleting.
    AbortThenDelete,
    /// M8: rows of a source become true once.
    Covered,
    /// A lane that lost its race takes its files with it.
    LaneFiles,
}

/// Which rules are on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    #[cfg(test)]
    pub(super) off: Option<Rule>,
}

impl Rules {
    #[cfg(not(test))]
    pub(super) const fn on(self, _: Rule) -> bool {
        true
    }

    #[cfg(test)]
    pub(super) fn on(self, rule: Rule) -> bool {
        self.off != Some(rule)
    }
}
