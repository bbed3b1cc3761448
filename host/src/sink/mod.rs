//! From rows to Parquet files that nobody can see yet, and from there into the lake.
//!
//! ```text
//! Rows ──> EpochWriter ──> StageWriter ──> StagedFile ──publish──> object in its zone
//!          split by hour,   invisible:      plain data, stands      visible
//!          one encoder per  a multipart     in a commit record
//!          (table, hour)    upload, or
//!                           a staging file
//! ```
//!
//! The contract, rule by rule of the commit protocol:
//!
//! * **F1** No reader can see a file before it is published. On S3 it is a multipart upload to its final
//!   key that was not completed; on a local disk a file under `_tidemill/<pipeline>/staging/`.
//! * **F2** Published means seen: after the upload was completed, HEAD shows its key, size and ETag.
//!   Publishing again is success.
//! * **M5** Removing is: abort the upload, then delete the key; locally unlink staging, then final.
//! * **L7** Names of files begin with the pipeline's, and what else it keeps lies in its own folder.
//! * Keys are unique: they carry the id of the epoch, the lane and a number. [`keys`] owns every one.
//! * Memory is bounded: rows and encoders by [`Settings::buffer_bytes`], parts on their way to the store
//!   by the zone's budget. Whoever exceeds a bound writes smaller row groups or more files, or waits.
//!
//! Kinds of errors: what goes wrong while a file is staged costs the epoch ([`Kind::Abandon`]); what goes
//! wrong while it is published can be tried again ([`Kind::Retry`]); a failed fsync, a missing bucket or
//! missing rights need a person ([`Kind::Stop`]).
//!
//! [`Kind::Abandon`]: crate::Kind::Abandon
//! [`Kind::Retry`]: crate::Kind::Retry
//! [`Kind::Stop`]: crate::Kind::Stop

mod aws;
mod codec;
mod counted;
mod credentials;
mod disk;
mod encode;
mod file;
mod folder;
mod gather;
pub mod keys;
mod location;
mod objects;
mod parts;
mod prints;
mod probe;
mod properties;
mod refused;
mod request;
mod rewrite;
mod s3;
mod split;
mod stage;
mod staged;
mod trace;
mod uploads;
mod zone;

pub use aws::Aws;
pub(crate) use codec::CODECS;
pub use codec::Codec;
pub(crate) use credentials::Chain;
pub use encode::{EpochWriter, Pressure, Settings};
pub use folder::{Folder, Seen};
pub use keys::Keys;
pub use location::Location;
pub use parts::Parts;
pub use prints::Prints;
pub use probe::Bucket;
pub use request::Answered;
pub use rewrite::HourWriter;
pub(crate) use s3::{Answer, CLOCK, Failure, explain};
pub use stage::{PendingFile, StageWriter, Summary};
pub use staged::{Publish, StagedFile, zone as zone_name};
#[cfg(test)]
pub(crate) use trace::{Noted, Steps};
pub use zone::{Stores, Waiting, ZoneStore};
