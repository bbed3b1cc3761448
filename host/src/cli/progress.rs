//! One line on a terminal that says how far a command is, if it takes long.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Nothing is said of what takes no longer.
const SILENT: Duration = Duration::from_secs(2);

/// The line.
pub(super) struct Bar {
    bar: ProgressBar,
    begun: Instant,
}

impl Bar {
    pub(super) fn new() -> Bar {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if std::io::stderr().is_terminal()
            && let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}")
        {
            bar.set_style(style);
        }
        Bar { bar, begun: Instant::now() }
    }

    /// What is being done.
    pub(super) fn tell(&self, text: String) {
        if self.begun.elapsed() > SILENT {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.set_message(text);
            self.bar.tick();
        }
    }

    /// Does something that prints, without the line in its way.
    pub(super) fn aside<T>(&self, printing: impl FnOnce() -> T) -> T {
        self.bar.suspend(printing)
    }

    /// Takes it away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
