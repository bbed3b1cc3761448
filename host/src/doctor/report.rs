//! What the doctor found: a step is a line, for people and for scripts.

use std::time::Duration;

use serde::Serialize;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All is well.
    Ok,
    /// It works, and somebody should look at it all the same.
    Warning,
    /// It does not work.
    Failed,
    /// It was not tried, because an earlier step failed.
    Skipped,
}

impl State {
    /// Whether what builds on the step can be tried.
    pub fn passed(self) -> bool {
        matches!(self, State::Ok | State::Warning)
    }

    fn mark(self) -> &'static str {
        match self {
            State::Ok => "✓",
            State::Warning => "!",
            State::Failed => "✗",
            State::Skipped => "–",
        }
    }

    /// Green, yellow, red, grey.
    fn colour(self) -> &'static str {
        match self {
            State::Ok => "\x1b[32m",
            State::Warning => "\x1b[33m",
            State::Failed => "\x1b[31m",
            State::Skipped => "\x1b[90m",
        }
    }
}

/// One step, done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it belongs to: `brokers`, `raw` …
    pub area: &'static str,
    /// Its name, unique in its area.
    pub name: String,
    /// How it ended.
    pub state: State,
    /// The same for scripts: false if it failed, nothing if it was skipped.
    pub ok: Option<bool>,
    /// What was found.
    pub found: String,
    /// What to do about it: a command or a setting.
    pub remedy: Option<String>,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

/// What a step found, with what later steps need of it.
pub struct Finding<T = ()> {
    pub(super) state: State,
    pub(super) found: String,
    pub(super) remedy: Option<String>,
    pub(super) value: Option<T>,
}

impl Finding<()> {
    /// All is well.
    pub fn ok(found: impl Into<String>) -> Self {
        Finding { state: State::Ok, found: found.into(), remedy: None, value: Some(()) }
    }

    /// It works, but …
    pub fn warning(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { state: State::Warning, found: found.into(), remedy: Some(remedy.into()), value: Some(()) }
    }
}

impl<T> Finding<T> {
    /// It does not work.
    pub fn failed(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { state: State::Failed, found: found.into(), remedy: Some(remedy.into()), value: None }
    }

    /// The same with something for later steps.
    pub fn with<U>(self, value: U) -> Finding<U> {
        Finding { state: self.state, found: self.found, remedy: self.remedy, value: Some(value) }
    }
}

/// The width of names in a report; a longer one moves its own line only.
const NAME: usize = 20;

/// A step for people: its line, and below it what to do.
pub fn line(step: &Step, coloured: bool) -> String {
    let mark = match coloured {
        true => format!("{}{}\x1b[0m", step.state.colour(), step.state.mark()),
        false => step.state.mark().to_owned(),
    };
    let mut text = format!("  {mark} {:<NAME$} {}\n", step.name, step.found);
    if let Some(remedy) = &step.remedy {
        text.push_str(&format!("      → {remedy}\n"));
    }
    text
}

/// The last line: how many of each, and what it took.
pub fn summary(steps: &[Step], took: Duration, limit: Duration) -> String {
    let count = |state: State| steps.iter().filter(|step| step.state == state).count();
    let (failed, warnings) = (count(State::Failed), count(State::Warning));
    let warnings = if warnings == 1 { "1 warning".into() } else { format!("{warnings} warnings") };
    format!(
        "{} well, {warnings}, {failed} failed, {} skipped; {:.1} s (a step may take {limit:?})\n",
        count(State::Ok),
        count(State::Skipped),
        took.as_secs_f64(),
    )
}

/// Whether nothing failed.
pub fn well(steps: &[Step]) -> bool {
    steps.iter().all(|step| step.state != State::Failed)
}

/// All of it for scripts.
pub fn json(steps: &[Step], took: Duration, limit: Duration) -> serde_json::Value {
    serde_json::json!({
        "ok": well(steps),
        "limit_ms": u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        "ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "steps": steps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(state: State) -> Step {
        let ok = (state != State::Skipped).then_some(state.passed());
        let remedy = (state == State::Failed).then(|| "start it".into());
        Step { area: "brokers", name: "reachable".into(), state, ok, found: "no".into(), remedy, ms: 7 }
    }

    #[test]
    fn a_step_is_a_line_and_its_remedy_another() {
        assert_eq!(line(&step(State::Ok), false), "  ✓ reachable            no\n");
        assert_eq!(line(&step(State::Failed), false), "  ✗ reachable            no\n      → start it\n");
        assert!(line(&step(State::Skipped), true).contains("\x1b[90m–\x1b[0m"));
    }

    #[test]
    fn scripts_see_what_failed() {
        let steps = [step(State::Ok), step(State::Warning), step(State::Failed), step(State::Skipped)];
        let json = json(&steps, Duration::from_millis(1500), Duration::from_secs(5));
        assert_eq!(json["ok"], false);
        assert_eq!(json["steps"][2]["ok"], false);
        assert_eq!(json["steps"][3]["ok"], serde_json::Value::Null);
        assert_eq!(json["steps"][1]["state"], "warning");
        assert!(well(&steps[..2]));
        let said = summary(&steps, Duration::from_millis(1500), Duration::from_secs(5));
        assert_eq!(said, "1 well, 1 warning, 1 failed, 1 skipped; 1.5 s (a step may take 5s)\n");
    }
}
