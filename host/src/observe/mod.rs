//! What the host tells about itself: counters that the commands print, and its state for `tidemill status`.
//!
//! Those who work note what they do on the [`Board`], and never wait for who looks at it.

mod board;
mod stats;
mod status;

pub use board::Board;
pub use stats::{Advanced, Commit, Snapshot, Stats, Worked};
pub use status::{
    About, At, LastCommit, PartitionStatus, Refused, Status, TransformState, TransformStatus, Trouble,
};
