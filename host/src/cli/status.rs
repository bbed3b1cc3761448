//! `tidemill status`

pub(super) mod report;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::heard;
use crate::observe::directories;
use crate::observe::hosts::{self, Host};
use crate::sink::Keys;
use crate::{Error, Result};

/// Shows how this user's hosts on this machine are.
#[derive(Args)]
#[command(
    after_help = "A running host is asked over a socket that only its user can reach; nothing is configured. Counts are
since the host started, and of what is committed. What needs a person stands on top, after an
exclamation mark: a change of the transforms that was not taken in, a partition that stands still or
went back to the transforms before.

Exit codes: 0 all hosts have answered; 1 there is none, or one does not answer, or, with --check,
something needs a person.

Examples:
  tidemill status                        all hosts
  tidemill status --pipeline tidemill    those of one pipeline
  tidemill status --watch                again every second, until Ctrl-C
  tidemill status --check > /dev/null    for scripts: is all well?
  tidemill status --json | jq '.partitions[].lag'"
)]
pub(super) struct Status {
    /// Only hosts of this pipeline
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// One JSON object a host, a line each, instead of text
    #[arg(long)]
    json: bool,
    /// Again every second, until Ctrl-C
    #[arg(long, conflicts_with = "check")]
    watch: bool,
    /// Fail if something needs a person
    #[arg(long)]
    check: bool,
}

/// The pause between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Takes a terminal to its beginning and wipes it.
const WIPE: &str = "\x1b[H\x1b[2J\x1b[3J";

impl Status {
    pub(super) fn run(self) -> Result<()> {
        let keys = self.pipeline.as_deref().map(Keys::new).transpose()?;
        let directories = directories::of_user();
        let runtime = super::runtime()?;
        let ask = || runtime.block_on(hosts::ask(&directories, keys.as_ref().map(Keys::segment)));
        let terminal = std::io::stdout().is_terminal();
        let coloured = terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        if !self.watch {
            let hosts = ask();
            heard(&self.shown(&hosts, coloured))?;
            return self.verdict(&hosts, &directories);
        }
        loop {
            let hosts = ask();
            let mut text = self.shown(&hosts, coloured);
            if let Err(e) = self.verdict(&hosts, &directories) {
                match self.json {
                    true => eprintln!("{e}"),
                    false => text.push_str(&format!("{e}\n")),
                }
            }
            if !self.json {
                text = if terminal { format!("{WIPE}{text}") } else { format!("{text}\n") };
            }
            if !heard(&text)? {
                return Ok(());
            }
            std::thread::sleep(EVERY);
        }
    }

    fn shown(&self, hosts: &[Host], coloured: bool) -> String {
        let known = hosts.iter().filter_map(|host| host.status.as_ref().ok());
        let shown = known.map(|status| match self.json {
            true => format!("{}\n", serde_json::json!(status)),
            false => report::report(status, coloured),
        });
        shown.collect::<Vec<_>>().join(if self.json { "" } else { "\n" })
    }

    fn verdict(&self, hosts: &[Host], directories: &[PathBuf]) -> Result<()> {
        if hosts.is_empty() {
            let of = self.pipeline.as_ref().map(|name| format!(" of pipeline {name}")).unwrap_or_default();
            let looked: Vec<String> = directories.iter().map(|path| path.display().to_string()).collect();
            return Err(Error::stop(format!(
                "no host{of} is running here as this user (looked in {}); to start one: tidemill run",
                looked.join(", ")
            )));
        }
        let silent = hosts.iter().filter_map(|host| Some((host, host.status.as_ref().err()?)));
        let silent: Vec<String> = silent
            .map(|(host, why)| format!("process {} ({}): {why}", host.pid, host.path.display()))
            .collect();
        if !silent.is_empty() {
            return Err(Error::stop(format!("a host does not answer: {}", silent.join("; "))));
        }
        let lines = |host: &Host| host.status.as_ref().map_or(0, |status| status.attention.len());
        match hosts.iter().map(lines).sum() {
            needs @ 1.. if self.check => {
                Err(Error::stop(format!("needs a person: {needs} (see tidemill status)")))
            }
            0.. => Ok(()),
        }
    }
}
