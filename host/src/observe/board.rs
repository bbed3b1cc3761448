//! What the host is doing right now, for those who ask: transforms, partitions, the last commit.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::commit::record::Deployed;

/// The state of a running host, shared between its parts and whoever shows it.
#[derive(Default)]
pub struct Board(Mutex<Status>);

/// The state of a running host at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The record with the set of transforms that the lanes are to run.
    pub set: Option<u64>,
    /// Its transforms.
    pub transforms: Vec<TransformStatus>,
    /// Changes of the directory that were not taken in, with the reason.
    pub refused: Vec<Refused>,
    /// This host's partitions.
    pub partitions: BTreeMap<i32, PartitionStatus>,
    /// How long lanes stood still when they last went over to other transforms.
    pub stalled: Option<Duration>,
}

/// A transform of the set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TransformStatus {
    /// Its file's name, without the ending.
    pub file: String,
    /// What it calls itself.
    pub name: String,
    /// The version it gives itself.
    pub version: String,
    /// SHA-256 of the component.
    pub digest: String,
}

/// A change that was not taken in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// The file's name, without the ending; empty: the directory, or a set of another host.
    pub file: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: SystemTime,
}

/// A partition of this host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// Its lane.
    pub lane: usize,
    /// The set of transforms that it runs.
    pub set: Option<u64>,
    /// It stands still until there are other transforms.
    pub paused: bool,
    /// The last fault of a transform in it.
    pub error: Option<String>,
}

impl Board {
    fn change(&self, change: impl FnOnce(&mut Status)) {
        if let Ok(mut status) = self.0.lock() {
            change(&mut status);
        }
    }

    /// The lanes are to run these transforms.
    pub fn set(&self, set: Option<u64>, components: &[Deployed]) {
        let transforms = components.iter().map(|deployed| TransformStatus {
            file: deployed.file.clone(),
            name: deployed.name.clone(),
            version: deployed.version.clone(),
            digest: deployed.digest.clone(),
        });
        let transforms = transforms.collect();
        self.change(|status| (status.set, status.transforms) = (set, transforms));
    }

    /// A change of the directory was not taken in.
    pub fn refused(&self, file: &str, reason: &str) {
        let refused = Refused { file: file.into(), reason: reason.into(), at: SystemTime::now() };
        self.change(|status| status.refused.push(refused));
    }

    /// The directory is looked at anew.
    pub fn clear_refused(&self) {
        self.change(|status| status.refused.clear());
    }

    /// A partition is run by a lane with a set of transforms.
    pub fn runs(&self, partition: i32, lane: usize, set: Option<u64>) {
        self.change(|status| {
            let entry = status.partitions.entry(partition).or_default();
            // A newer set may be better; one that was fallen back to does not explain itself.
            let newer = set > entry.set;
            let error = entry.error.take().filter(|_| !newer);
            *entry = PartitionStatus { lane, set, paused: false, error };
        });
    }

    /// A partition is another member's.
    pub fn went(&self, partition: i32) {
        self.change(|status| drop(status.partitions.remove(&partition)));
    }

    /// A transform failed in a partition.
    pub fn failed(&self, partition: i32, error: &str) {
        self.change(|status| status.partitions.entry(partition).or_default().error = Some(error.into()));
    }

    /// A partition stands still.
    pub fn paused(&self, partition: i32, error: &str) {
        self.change(|status| {
            let entry = status.partitions.entry(partition).or_default();
            (entry.paused, entry.error) = (true, Some(error.into()));
        });
    }

    /// A lane went over to a set, and stood still for so long.
    pub fn swapped(&self, _set: Option<u64>, stalled: Duration) {
        self.change(|status| status.stalled = Some(stalled));
    }

    /// The partitions of this host.
    pub fn partitions(&self) -> Vec<i32> {
        self.0.lock().map(|status| status.partitions.keys().copied().collect()).unwrap_or_default()
    }

    /// Everything, now.
    pub fn status(&self) -> Status {
        self.0.lock().map(|status| status.clone()).unwrap_or_default()
    }
}
