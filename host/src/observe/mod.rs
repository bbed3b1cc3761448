//! What the host tells about itself: counters that the commands print, and its state for `tidemill status`.
//!
//! Those who work note what they do on the [`Board`], and never wait for who looks at it. Who looks asks over a socket
//! of this machine that only this user can reach: [`directories`] says where it lies, [`socket`] answers, [`hosts`]
//! asks. A host never fails for any of it.

mod board;
pub mod directories;
pub mod health;
pub mod hosts;
pub mod http;
pub mod metrics;
mod pulse;
pub mod socket;
mod stats;
mod status;
mod traces;
mod whole;

pub use board::Board;
pub use metrics::{Meters, Requests, Stage, Step};
pub use pulse::Pulse;
pub use stats::{Advanced, Commit, Deeds, Lap, Snapshot, Stats, Worked};
pub use status::{
    About, At, LastCommit, LogStatus, PartitionStatus, Refused, Status, TransformState, TransformStatus,
    Trouble,
};
pub use traces::Traces;
