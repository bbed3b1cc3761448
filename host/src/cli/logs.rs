//! The log: on stderr, for people on a terminal and as JSON lines for machines.
//!
//! What repeats is told a few times a minute and then counted ([`repeats`]). Nothing at the level of info or above
//! holds a secret or the content of an event; what a transform says itself is its author's matter.

mod repeats;

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::fmt::format::{Format, JsonFields};
use tracing_subscriber::{EnvFilter, fmt};

use repeats::Repeats;

/// The variable that says how lines are written.
pub(super) const FORMAT: &str = "TIDEMILL_LOG_FORMAT";

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    Human,
    /// A JSON object a line.
    Json,
}

/// Begins to log. `level` holds unless `RUST_LOG` says otherwise.
pub(super) fn begin(level: &str, format: LogFormat) {
    // Set but empty would mean silence.
    let wanted = std::env::var("RUST_LOG").ok().filter(|wanted| !wanted.is_empty());
    let wanted = wanted.and_then(|wanted| EnvFilter::try_new(wanted).ok());
    let log = fmt().with_env_filter(wanted.unwrap_or_else(|| EnvFilter::new(level)));
    let log = log.with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = Format::default().with_target(false);
    match format {
        LogFormat::Human => log.event_format(Repeats::of(lines.compact(), human)).init(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            log.fmt_fields(JsonFields::new()).event_format(Repeats::of(lines, json)).init();
        }
    }
}

fn human(more: &str) -> String {
    format!("      {more}\n")
}

fn json(more: &str) -> String {
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    format!("{}\n", serde_json::json!({ "timestamp": now, "level": "INFO", "message": more }))
}
