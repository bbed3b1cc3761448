//! `tidemill monitor`

mod alarms;
mod brokers;
mod figures;
mod lake;
mod lines;
mod live;
mod model;
mod once;
mod place;
#[cfg(test)]
mod samples;
mod screen;
mod tail;
mod view;
mod waits;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;

use super::produce::duration;
use crate::config::{Config, Flags, Layers};
use crate::observe::directories;
use crate::sink::Keys;
use crate::{Error, Result};

use alarms::Bounds;
use place::{Hosts, Place, Whole};

/// Watches the running hosts, or the lake alone.
#[derive(Args)]
#[command(
    after_help = "It asks the hosts that run on this machine as this user, those of one pipeline if a setting names it. With
--lake, or where none runs, it reads the commit log in the processed zone, and asks the brokers how far the topic
goes beyond it. It changes nothing.

An alarm is on when
  - a host says that it needs a person (as tidemill status does after an exclamation mark), does not answer, or has
    been starting for a minute;
  - an event waits for longer than --max-freshness to be in the lake. An idle topic is fresh, however old its last
    commit is. Where events wait and their age is not known, --once looks again until they are in the lake, for as
    long as the bound, 30s at most; what waits then beyond a longer last commit counts as too old;
  - more than --max-lag events wait, or nothing was committed for --max-silence;
  - a zone does not answer a host for 5s, or the brokers do not tell how far behind it is (with --lake: only if a
    bound of freshness or lag is given);
  - no host runs here and the lake cannot be read.

Keys: q quits, tab shows the next host or the lake, up and down scroll, p holds the picture, ? explains.
NO_COLOR=1 keeps it without colours.

Exit codes: 0 all is well, or somebody quit; 1 with --once: an alarm is on; 2 wrong usage.

Examples:
  tidemill monitor                              the hosts of this machine
  tidemill monitor --lake --processed s3://user-events-processed
  tidemill monitor --once > /dev/null || page-somebody
  tidemill monitor --once --json | jq -r '.alarms[].what'
  tidemill monitor --once --lake --max-lag 100000 --max-silence 5m"
)]
pub(super) struct Monitor {
    /// The lake alone, whoever runs
    #[arg(long)]
    lake: bool,
    /// Print one view as text, and end
    #[arg(long)]
    once: bool,
    /// One JSON object instead of text
    #[arg(long, requires = "once")]
    json: bool,
    /// Alarm: an event waits for so long to be in the lake [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_freshness: Option<Duration>,
    /// Alarm: more events than this wait
    #[arg(long, value_name = "EVENTS")]
    max_lag: Option<u64>,
    /// Alarm: nothing was committed for so long, even if nothing waits
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_silence: Option<Duration>,
    #[command(flatten)]
    flags: Flags,
}

/// How long an event may wait, if nobody says otherwise.
const FRESH: Duration = Duration::from_secs(10);
/// The width of text for who is no terminal: nothing is left out.
const UNBOUNDED: usize = 1000;

impl Monitor {
    /// Whether what is logged would be written across the picture.
    pub(super) fn fills_the_terminal(&self) -> bool {
        !self.once && live::over_stderr()
    }

    pub(super) fn run(self) -> Result<()> {
        if !self.once && !std::io::stdout().is_terminal() {
            return Err(Error::usage(
                "monitor draws on a terminal, and stdout is none: use --once for one view as text, or --once --json",
            ));
        }
        let layers = Layers::load(&self.flags)?;
        let config = Config::of(&layers)?;
        let named = layers.given("pipeline") || layers.given("group");
        let segment = Keys::new(&config.pipeline)?.segment().to_owned();
        let hosts = Hosts {
            directories: if self.lake { Vec::new() } else { directories::of_user() },
            segment: named.then_some(segment),
        };
        let bounds = Bounds {
            freshness: self.max_freshness.unwrap_or(FRESH),
            lag: self.max_lag,
            silence: self.max_silence,
            asked: self.max_freshness.is_some() || self.max_lag.is_some(),
        };
        let runtime = super::runtime()?;
        let model = model::Model::new(bounds.clone(), self.lake, hosts.looked());
        let place = Place { hosts, lake: Whole::new(config) };
        if !self.once {
            return live::run(runtime, place, model);
        }
        let done = runtime.block_on(once::run(place, &bounds, self.json, width()));
        // A question to silent brokers may still be under way.
        runtime.shutdown_background();
        done
    }
}

/// Columns for text.
fn width() -> usize {
    let terminal = terminal_size::terminal_size().filter(|_| std::io::stdout().is_terminal());
    terminal.map_or(UNBOUNDED, |(width, _)| usize::from(width.0))
}
