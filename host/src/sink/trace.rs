//! What a disk was told, in order: so that a test can ask what a power cut would leave. In the product it is
//! nothing.

use std::path::Path;

/// A step that a power cut may undo or may not.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(test), allow(dead_code, reason = "only tests look at them"))]
pub(super) enum Step<'a> {
    /// A name for a new, empty file.
    Create(&'a Path),
    /// The bytes of a file are durable.
    SyncFile(&'a Path),
    /// The names in a folder are durable.
    SyncFolder(&'a Path),
    /// A second name for a file.
    Link(&'a Path, &'a Path),
    /// Another name instead of the first.
    Rename(&'a Path, &'a Path),
    /// One name less.
    Unlink(&'a Path),
}

/// Steps in the order in which they were done.
#[cfg(test)]
pub(crate) type Steps = std::sync::Arc<std::sync::Mutex<Vec<Noted>>>;

/// A step as a test reads it: what was done, to which path, and the second path of those that have two.
#[cfg(test)]
pub(crate) type Noted = (&'static str, std::path::PathBuf, std::path::PathBuf);

/// Where steps are noted.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace(#[cfg(test)] pub(super) Option<Steps>);

impl Trace {
    /// Notes a step.
    #[cfg(test)]
    pub(super) fn note(&self, step: Step<'_>) {
        let Some(steps) = &self.0 else { return };
        let nothing = Path::new("");
        let (what, one, other) = match step {
            Step::Create(path) => ("create", path, nothing),
            Step::SyncFile(path) => ("sync file", path, nothing),
            Step::SyncFolder(path) => ("sync folder", path, nothing),
            Step::Link(from, to) => ("link", from, to),
            Step::Rename(from, to) => ("rename", from, to),
            Step::Unlink(path) => ("unlink", path, nothing),
        };
        steps.lock().expect("no test panics here").push((what, one.into(), other.into()));
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self)]
    pub(super) fn note(&self, step: Step<'_>) {
        let _ = step;
    }
}
