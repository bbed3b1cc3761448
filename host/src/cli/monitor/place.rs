//! Where is looked: for the hosts that run here, and at the lake that the configuration names.

use std::path::PathBuf;
use std::time::Duration;

use super::lake::{Facts, Reader};
use crate::config::Config;
use crate::observe::Status;
use crate::observe::hosts::{self, Host};

/// The two places.
pub(super) struct Place {
    pub(super) hosts: Hosts,
    pub(super) lake: Whole,
}

/// Directories in which hosts of this user can be asked; none: nobody is to be asked.
pub(super) struct Hosts {
    pub(super) directories: Vec<PathBuf>,
    /// Only those of this pipeline, whose name is given as a part of a path.
    pub(super) segment: Option<String>,
}

impl Hosts {
    pub(super) async fn ask(&self) -> Vec<Host> {
        hosts::ask(&self.directories, self.segment.as_deref()).await
    }

    /// Where they are looked for, for people.
    pub(super) fn looked(&self) -> String {
        let looked: Vec<String> = self.directories.iter().map(|path| path.display().to_string()).collect();
        format!("looked in {}", looked.join(", "))
    }
}

/// A lake that is opened when somebody looks at it.
pub(super) struct Whole {
    config: Config,
    reader: Option<Reader>,
}

impl Whole {
    pub(super) fn new(config: Config) -> Whole {
        Whole { config, reader: None }
    }

    /// What it says; the brokers may take so long. An error says why it cannot be read.
    pub(super) async fn look(&mut self, brokers: Duration) -> Result<(Status, Facts), String> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::open(&self.config).await.map_err(|e| e.to_string())?,
        };
        self.reader.insert(reader).look(brokers).await
    }
}
