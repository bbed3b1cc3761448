//! `tidemill doctor`

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::mpsc;

use super::progress::Bar;
use super::say;
use crate::config::{Flags, Layers, units};
use crate::doctor::report::{self, Step};
use crate::doctor::{self, Event, Part};
use crate::{Error, Result, env};

/// Looks for what is wrong, step by step, and says what to do about it.
#[derive(Args)]
#[command(
    after_help = "Give it the settings that you give to `tidemill run`: it reads the same file, environment and flags. It
joins no group, disturbs no host, and removes what it writes. ✓ well, ! works but look at it, ✗ failed,
– skipped because of a step that failed. All of it ends within a minute, whatever does not answer.

Exit codes: 0 nothing failed, 1 something did, 2 wrong usage.

Examples:
  tidemill doctor
  tidemill doctor --only zones,catalog --raw s3://mine/raw --processed s3://mine/processed
  tidemill doctor --json | jq -r '.steps[] | select(.ok == false) | .remedy'"
)]
pub(super) struct Doctor {
    #[command(flatten)]
    flags: Flags,
    /// Look at these parts only (and the configuration)
    #[arg(long, value_name = "PART,…", value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// The longest that a step may take, 1s to 30s; compiling a transform may take six times as long
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = limit)]
    limit: Duration,
    /// One JSON object for scripts instead of text
    #[arg(long)]
    json: bool,
}

fn limit(text: &str) -> Result<Duration, String> {
    let within = Duration::from_secs(1)..=Duration::from_secs(30);
    let limit = units::duration(text).filter(|limit| within.contains(limit));
    limit.ok_or_else(|| "expected a duration with its unit from 1s to 30s".into())
}

impl Doctor {
    pub(super) fn run(self) -> Result<()> {
        let (limit, begun) = (self.limit, Instant::now());
        let coloured =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        let mut shown = Shown::new(doctor::order(&self.only), coloured, self.json);
        let layers = Layers::load(&self.flags);
        let runtime = super::runtime()?;
        let told: Result<()> = runtime.block_on(async {
            let (out, mut events) = mpsc::unbounded_channel();
            let env = env::machine();
            let only = self.only.clone();
            let examined =
                tokio::spawn(async move { doctor::examine(layers, &only, limit, &env, &out).await });
            while let Some(event) = events.recv().await {
                shown.take(event)?;
            }
            examined.await.map_err(|e| Error::stop(format!("doctor failed itself, this is a bug: {e}")))
        });
        // What does not answer must not hold up the end.
        runtime.shutdown_timeout(Duration::from_millis(200));
        shown.bar.end();
        told?;
        let (steps, took) = (shown.all, begun.elapsed());
        match self.json {
            true => say(&format!("{}\n", report::json(&steps, took, limit)))?,
            false => say(&format!("\n{}", report::summary(&steps, took, limit)))?,
        }
        match steps.iter().filter(|step| step.ok == Some(false)).count() {
            0 => Ok(()),
            1 => Err(Error::stop("one step failed")),
            some => Err(Error::stop(format!("{some} steps failed"))),
        }
    }
}

/// Areas run side by side; they are shown one after the other.
struct Shown {
    /// The areas that are not shown whole yet.
    order: Vec<&'static str>,
    /// What is ready of each, and whether that is all.
    ready: BTreeMap<&'static str, (Vec<Step>, bool)>,
    /// The area whose title was printed last.
    title: &'static str,
    /// In the order of the report.
    all: Vec<Step>,
    under_way: BTreeMap<&'static str, String>,
    bar: Bar,
    coloured: bool,
    silent: bool,
}

impl Shown {
    fn new(order: Vec<&'static str>, coloured: bool, silent: bool) -> Shown {
        Shown {
            order,
            ready: BTreeMap::new(),
            title: "",
            all: Vec::new(),
            under_way: BTreeMap::new(),
            bar: Bar::new(),
            coloured,
            silent,
        }
    }

    fn take(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Begins(area, step) => drop(self.under_way.insert(area, step)),
            Event::Done(step) => self.ready.entry(step.area).or_default().0.push(step),
            Event::Over(area) => {
                self.ready.entry(area).or_default().1 = true;
                self.under_way.remove(area);
            }
        }
        let text = self.text();
        if !text.is_empty() && !self.silent {
            self.bar.aside(|| say(&text))?;
        }
        let busy: Vec<String> = self.under_way.iter().map(|(area, step)| format!("{area}: {step}")).collect();
        self.bar.tell(busy.join(", "));
        Ok(())
    }

    /// What can be printed by now: an area after those before it.
    fn text(&mut self) -> String {
        let mut text = String::new();
        while let Some(area) = self.order.first().copied() {
            let Some((steps, over)) = self.ready.get_mut(area) else { break };
            let over = *over;
            for step in steps.drain(..) {
                if self.title != area {
                    self.title = area;
                    text.push_str(&format!("{area}\n"));
                }
                text.push_str(&report::line(&step, self.coloured));
                self.all.push(step);
            }
            if !over {
                break;
            }
            self.order.remove(0);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::State;

    fn done(area: &'static str, name: &str) -> Event {
        let state = State::Ok;
        let step =
            Step { area, name: name.into(), state, ok: Some(true), found: "f".into(), remedy: None, ms: 1 };
        Event::Done(step)
    }

    #[test]
    fn areas_are_shown_in_their_order_however_they_end() {
        let mut shown = Shown::new(vec!["configuration", "brokers", "raw"], false, true);
        for event in [
            done("raw", "r1"),
            done("brokers", "b1"),
            done("configuration", "c1"),
            Event::Over("configuration"),
            Event::Over("raw"),
            done("brokers", "b2"),
        ] {
            shown.take(event).expect("shown");
        }
        let names = |shown: &Shown| shown.all.iter().map(|step| step.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&shown), ["c1", "b1", "b2"]);
        shown.take(Event::Over("brokers")).expect("shown");
        assert_eq!(names(&shown), ["c1", "b1", "b2", "r1"]);
        assert!(shown.order.is_empty());
    }

    #[test]
    fn a_limit_has_a_unit_and_a_range() {
        assert_eq!(limit("2s"), Ok(Duration::from_secs(2)));
        for wrong in ["2", "0s", "31s", "1h"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }
}
