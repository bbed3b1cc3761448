//! A line that repeats is told [`TOLD`] times in [`WINDOW`]; how often it came after that is told at the end of it.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How often the same line is told in a window.
const TOLD: u32 = 5;
/// A window.
const WINDOW: Duration = Duration::from_secs(60);
/// Different lines that are remembered.
const LINES: usize = 1000;
/// Letters of a line that is counted.
const LETTERS: usize = 300;

/// Formats events with another format, but for repeats.
pub(super) struct Repeats<F> {
    format: F,
    /// Makes a line of what was left out.
    line: fn(&str) -> String,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    lines: HashMap<String, Line>,
    swept: Option<Instant>,
}

struct Line {
    since: Instant,
    told: u32,
    more: u64,
}

impl<F> Repeats<F> {
    pub(super) fn of(format: F, line: fn(&str) -> String) -> Repeats<F> {
        Repeats { format, line, seen: Mutex::default() }
    }
}

impl Seen {
    /// Whether a line is told now.
    fn tell(&mut self, line: String, now: Instant) -> bool {
        if self.lines.len() >= LINES && !self.lines.contains_key(&line) {
            // Too much is going on to count repeats.
            return true;
        }
        let line = self.lines.entry(line).or_insert(Line { since: now, told: 0, more: 0 });
        line.told += 1;
        line.more += u64::from(line.told > TOLD);
        line.told <= TOLD
    }

    /// What was left out in windows that are over, once in a while.
    fn sweep(&mut self, now: Instant) -> Vec<String> {
        if self.swept.is_some_and(|swept| now - swept < Duration::from_secs(1)) {
            return Vec::new();
        }
        self.swept = Some(now);
        let over = self.lines.extract_if(|_, line| now - line.since >= WINDOW);
        let mut left: Vec<String> = over
            .filter(|(_, line)| line.more > 0)
            .map(|(text, line)| {
                let short: String = text.chars().take(LETTERS).collect();
                format!("{} more like this were left out within {WINDOW:?}: {short}", line.more)
            })
            .collect();
        left.sort();
        left
    }
}

impl<S, N, F> FormatEvent<S, N> for Repeats<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = Instant::now();
        let mut text = Text(String::new());
        event.record(&mut text);
        let (left, tell) = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            (seen.sweep(now), seen.tell(text.0, now))
        };
        for more in left {
            writer.write_str(&(self.line)(&more))?;
        }
        match tell {
            true => self.format.format_event(context, writer, event),
            false => Ok(()),
        }
    }
}

/// The message and fields of an event.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Into a string: it cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?} "),
            name => write!(self.0, "{name}={value:?} "),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_and_told_when_their_time_is_over() {
        let (mut seen, begin) = (Seen::default(), Instant::now());
        let told = (0..12).filter(|_| seen.tell("no answer".into(), begin)).count();
        assert_eq!(told, 5);
        assert!(seen.tell("something else".into(), begin));
        assert!(seen.sweep(begin).is_empty());
        let later = begin + WINDOW;
        assert_eq!(seen.sweep(later), ["7 more like this were left out within 60s: no answer"]);
        assert!(seen.tell("no answer".into(), later), "a new window");
    }

    #[test]
    fn different_lines_do_not_pile_up() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        assert!((0..3 * LINES).all(|n| seen.tell(n.to_string(), now)));
        assert_eq!(seen.lines.len(), LINES);
    }
}
