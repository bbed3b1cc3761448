//! What an audit found.

use serde::Serialize;

/// Something that is not as the log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A word for programs; the README lists them.
    pub kind: &'static str,
    /// What is wrong, and where.
    pub what: String,
}

/// All findings, in the order in which they were made; the first of very many.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    more: u64,
}

/// Findings that are kept. A lake that is gone has one for each file.
const KEPT: usize = 10_000;

impl Findings {
    pub(super) fn add(&mut self, kind: &'static str, what: impl Into<String>) {
        if self.list.len() < KEPT {
            self.list.push(Finding { kind, what: what.into() });
        } else {
            self.more += 1;
        }
    }

    /// Takes over what was found in one of several logs, of which each sentence is to say so.
    pub(super) fn take(&mut self, found: Findings, prefix: &str) {
        for finding in found.list {
            self.add(finding.kind, format!("{prefix}{}", finding.what));
        }
        self.more += found.more;
    }

    /// Those that were kept.
    pub fn list(&self) -> &[Finding] {
        &self.list
    }

    /// How many there are in all.
    pub fn count(&self) -> u64 {
        self.list.len() as u64 + self.more
    }

    /// Whether there are some of a kind.
    pub fn any(&self, kinds: &[&str]) -> bool {
        self.list.iter().any(|finding| kinds.contains(&finding.kind))
    }
}

/// A few offsets as text, as `3, 5, 8 and 12 more`.
pub(super) fn few(offsets: &[i64]) -> String {
    let first: Vec<String> = offsets.iter().take(3).map(i64::to_string).collect();
    match offsets.len().saturating_sub(first.len()) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
