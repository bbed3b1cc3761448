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

/// Where steps are noted.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace(#[cfg(test)] pub(super) Option<std::sync::Arc<std::sync::Mutex<Vec<String>>>>);

impl Trace {
    /// Notes a step. The paths in it are cut after the last `_tidemill` or zone by the test that reads them.
    #[cfg(test)]
    pub(super) fn note(&self, step: Step<'_>) {
        if let Some(steps) = &self.0 {
            steps.lock().expect("no test panics here").push(format!("{step:?}"));
        }
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self)]
    pub(super) fn note(&self, step: Step<'_>) {
        // The fields are read by the test's `Debug` only.
        let _ = step;
    }
}
