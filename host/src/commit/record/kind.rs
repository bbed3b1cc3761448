//! What records are about, and the version of the format that each kind needs.

use serde::{Deserialize, Serialize};

/// The newest version that this build reads and writes. A record has the oldest version whose readers understand it
/// ([`RecordKind::format`]).
///
/// | version | since then there are |
/// | --- | --- |
/// | 1 | start, epoch, gap, repair, cleanup |
/// | 2 | transforms, replay |
/// | 3 | compact, expire, sweep: generations |
/// | 4 | reprocess, restore, erase, claim, backfill |
pub const FORMAT: u32 = 4;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordKind {
    /// Where partitions begin (rule L6): `from == to`, no files.
    Start,
    /// Events that became true.
    Epoch,
    /// Offsets that were gone from the topic and were skipped on a person's word.
    Gap,
    /// Files that vanished before they were visible, made again under other keys (rule F6).
    Repair,
    /// Staged files of epochs that will never become true, and are removed (rule M1).
    Cleanup,
    /// The transforms that all hosts are to run from now on.
    Transforms,
    /// Rejected rows that went through the transforms once more.
    Replay,
    /// The files of hours merged into others, which are their next generation.
    Compact,
    /// Hours whose files nobody needs any more.
    Expire,
    /// What flips took away is removed from now on.
    Sweep,
    /// Hours made anew from the raw zone, by the transforms that run now.
    Reprocess,
    /// Hours as they were before a reprocessing.
    Restore,
    /// Hours without the rows of somebody who is not to be in them any more.
    Erase,
    /// A part of a source of history that somebody works on. Advice to others, no more (rule M8).
    Claim,
    /// Rows of a source of history that became true.
    Backfill,
}

impl RecordKind {
    /// Its name in a record.
    pub fn name(self) -> &'static str {
        match self {
            RecordKind::Start => "start",
            RecordKind::Epoch => "epoch",
            RecordKind::Gap => "gap",
            RecordKind::Repair => "repair",
            RecordKind::Cleanup => "cleanup",
            RecordKind::Transforms => "transforms",
            RecordKind::Replay => "replay",
            RecordKind::Compact => "compact",
            RecordKind::Expire => "expire",
            RecordKind::Sweep => "sweep",
            RecordKind::Reprocess => "reprocess",
            RecordKind::Restore => "restore",
            RecordKind::Erase => "erase",
            RecordKind::Claim => "claim",
            RecordKind::Backfill => "backfill",
        }
    }

    /// The version of the format that a reader must know.
    pub(in crate::commit) fn format(self) -> u32 {
        match self {
            RecordKind::Transforms | RecordKind::Replay => 2,
            RecordKind::Compact | RecordKind::Expire | RecordKind::Sweep => 3,
            RecordKind::Reprocess
            | RecordKind::Restore
            | RecordKind::Erase
            | RecordKind::Claim
            | RecordKind::Backfill => 4,
            RecordKind::Start
            | RecordKind::Epoch
            | RecordKind::Gap
            | RecordKind::Repair
            | RecordKind::Cleanup => 1,
        }
    }

    /// Whether it belongs to the chain of maintenance records (rule M2).
    pub fn is_maintenance(self) -> bool {
        use RecordKind::{Backfill, Claim, Cleanup, Replay, Sweep};
        matches!(self, Cleanup | Replay | Sweep | Claim | Backfill) || self.flips()
    }

    /// Whether it makes other generations the current ones. What it takes away is no more true, but stays for readers
    /// that have not heard of it, until a sweep (rule M6).
    pub fn flips(self) -> bool {
        use RecordKind::{Compact, Erase, Expire, Reprocess, Restore};
        matches!(self, Compact | Expire | Reprocess | Restore | Erase)
    }
}
