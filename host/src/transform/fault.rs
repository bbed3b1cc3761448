//! Why a call of a transform came to nothing.

use std::fmt;
use std::time::Duration;

use wasmtime::Trap;

use super::engine::first_line;
use super::limits::Limits;
use super::voice::plain;

/// A call that came to nothing. It ended its instance.
#[derive(Debug)]
pub(super) struct Fault {
    kind: FaultKind,
    /// What happened, for people: `it …`.
    detail: String,
}

/// The kinds of faults. They are few and stable: as reasons in the rejected table they label metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultKind {
    Trap(Trap),
    Slow,
    Limit,
    Error,
    Contract,
}

impl Fault {
    /// The call ended in the sandbox or at one of its walls. `refused` is the setting that it was refused memory for.
    pub(super) fn of(
        error: &wasmtime::Error,
        limits: &Limits,
        allowed: Duration,
        refused: Option<&str>,
    ) -> Fault {
        let (kind, mut detail) = match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) if allowed < limits.call => {
                (FaultKind::Slow, format!("it took longer than {allowed:?}, 50 times what such rows take"))
            }
            Some(Trap::Interrupt) => {
                (FaultKind::Slow, format!("it took longer than {:?} (limits.call-ms)", limits.call))
            }
            Some(trap) => (FaultKind::Trap(*trap), format!("it trapped: {}", words(*trap))),
            None => beyond(&first_line(error)),
        };
        if let Some(setting) = refused {
            detail = format!("{detail}, after more memory was refused to it ({setting})");
        }
        Fault { kind, detail }
    }

    /// It returned an error.
    pub(super) fn error(what: &str, words: &str) -> Fault {
        Fault { kind: FaultKind::Error, detail: format!("{what}: {}", said(words)) }
    }

    /// What it returned breaks the contract.
    pub(super) fn contract(detail: String) -> Fault {
        Fault { kind: FaultKind::Contract, detail }
    }

    /// Whether it took too long.
    pub(super) fn is_slow(&self) -> bool {
        self.kind == FaultKind::Slow
    }

    /// Its kind as a label of metrics.
    pub(super) fn label(&self) -> &'static str {
        match self.kind {
            FaultKind::Trap(_) => "trap",
            FaultKind::Slow => "timeout",
            FaultKind::Limit => "memory",
            FaultKind::Contract => "invalid",
            FaultKind::Error => "other",
        }
    }

    /// The reason that stands with a row in the rejected table.
    pub(super) fn reason(&self) -> String {
        match self.kind {
            FaultKind::Trap(trap) => format!("poison: trapped: {}", words(trap)),
            FaultKind::Slow => "poison: took too long".into(),
            FaultKind::Limit => "poison: went beyond a limit".into(),
            FaultKind::Error => "poison: gave up with an error".into(),
            FaultKind::Contract => "poison: returned what breaks the contract".into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// What a trap is called.
fn words(trap: Trap) -> String {
    let text = trap.to_string();
    text.strip_prefix("wasm trap: ").unwrap_or(&text).to_owned()
}

/// An end that is no trap, in our own words where they are known.
fn beyond(error: &str) -> (FaultKind, String) {
    match error {
        e if e.contains("fuel allocated for hostcalls") => (
            FaultKind::Limit,
            "it makes the host hold more than one call may: 1 MiB, and 8 times what it is given".into(),
        ),
        e if e.starts_with("Exited with") => (FaultKind::Error, "it ended itself (exit)".into()),
        e if e.contains("utf-8") || e.contains("out of bounds") || e.contains("realloc") => {
            (FaultKind::Contract, format!("it returned nonsense: {e}"))
        }
        e => (FaultKind::Limit, format!("it went beyond what it may: {e}")),
    }
}

/// A guest's own words in an error, cut short and on one line.
fn said(words: &str) -> String {
    words.chars().take(300).map(plain).collect()
}
