//! What a live view knows: hosts that come and go, and the lake. Pure: looks and keys go in, a view comes out.

use super::alarms::{Alarm, Bounds, Kind, Verdict, judge};
use super::figures::{Figures, History};
use super::lake::Facts;
use super::screen::Frames;
use super::view::{Shown, View, plain, since};
use super::waits::Waits;
use crate::env::Micros;
use crate::observe::Status;
use crate::observe::hosts::Host;

/// Hosts that are remembered though they are gone.
const GONE: usize = 20;

/// What was seen at one moment.
pub(super) enum Look {
    /// The hosts that run here, and when they were asked.
    Hosts(Micros, Vec<Host>),
    /// The lake, or why it cannot be read.
    Lake(Result<Box<(Status, Facts)>, String>),
}

/// One thing that can be looked at.
#[derive(Default)]
pub(super) struct Subject {
    /// The host's process; none: it is the lake.
    pub(super) process: Option<u32>,
    /// What it said last.
    pub(super) status: Option<Status>,
    pub(super) facts: Option<Facts>,
    /// Why it says nothing now.
    pub(super) error: Option<String>,
    /// Since when it is not there any more.
    pub(super) gone: Option<Micros>,
    waits: Waits,
    history: History,
    pub(super) figures: Figures,
}

impl Subject {
    pub(super) fn host(process: u32) -> Subject {
        Subject { process: Some(process), ..Subject::default() }
    }

    /// Takes in what it says now.
    pub(super) fn says(&mut self, said: Result<(Status, Option<Facts>), String>) {
        self.gone = None;
        match said {
            Ok((status, facts)) => {
                self.waits.note(&status);
                self.figures = Figures::of(&status, facts.as_ref(), &self.waits);
                self.history.note(&status, self.figures);
                (self.status, self.facts, self.error) = (Some(status), facts, None);
            }
            Err(why) => self.error = Some(why),
        }
    }

    /// What is to be said of it. With `settle` what is in doubt counts as an alarm.
    pub(super) fn verdict(&self, bounds: &Bounds, now: Micros, settle: bool) -> Verdict {
        let alarm = |kind, what| Verdict {
            alarms: vec![Alarm { kind, process: self.process, partition: None, what }],
            doubts: false,
        };
        match (&self.error, self.gone, &self.status, self.process) {
            (_, Some(gone), ..) => {
                let when = since(gone, now);
                let what = "has ended, or was killed; what it said last stands below";
                alarm(Kind::Gone, format!("the host is gone: it {what} (gone {when})"))
            }
            (Some(why), _, _, None) => alarm(Kind::Unreadable, format!("the lake cannot be read: {why}")),
            (Some(why), _, _, Some(pid)) => {
                alarm(Kind::Unanswered, format!("process {pid} does not answer: {why}"))
            }
            (None, None, Some(status), _) => judge(status, self.facts.as_ref(), &self.waits, bounds, settle),
            (None, None, None, _) => Verdict::default(),
        }
    }

    /// What is shown of it.
    pub(super) fn view(&self, bounds: &Bounds, now: Micros, settle: bool) -> View {
        let alarms = self.verdict(bounds, now, settle).alarms;
        match &self.status {
            Some(status) => View::of(&Shown {
                status,
                lake: self.facts.as_ref(),
                alarms: &alarms,
                figures: self.figures,
                history: &self.history,
                bound: bounds.freshness,
            }),
            None => match self.process {
                Some(pid) => View::nothing(&format!("process {pid}"), &alarms, ""),
                None => {
                    View::nothing("lake", &alarms, if alarms.is_empty() { "reading the log …" } else { "" })
                }
            },
        }
    }

    fn pipeline(&self) -> Option<&str> {
        self.status.as_ref().map(|status| status.host.pipeline.as_str())
    }

    fn name(&self) -> String {
        let state = if self.gone.is_some() { " (gone)" } else { "" };
        match self.process {
            Some(pid) => plain(&format!("{} {pid}{state}", self.pipeline().unwrap_or("process"))),
            None => "lake".into(),
        }
    }
}

/// A key, as far as it means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Next,
    Before,
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Bottom,
    Pause,
    Help,
    /// Leaves help, or quits.
    Escape,
}

/// All that can be looked at.
pub(super) struct Model {
    bounds: Bounds,
    /// Only the lake.
    alone: bool,
    /// Where hosts were looked for, for people.
    looked: String,
    /// Hosts, and the lake at the end.
    subjects: Vec<Subject>,
    pub(super) around: Frames,
    /// Somebody chose what is shown.
    chosen: bool,
    /// Whether a host runs here now.
    hosts: bool,
    /// Somebody has looked for hosts, if anybody is to.
    seen: bool,
    page: usize,
    pub(super) over: bool,
}

impl Model {
    pub(super) fn new(bounds: Bounds, alone: bool, looked: String) -> Model {
        Model {
            bounds,
            alone,
            looked,
            subjects: vec![Subject::default()],
            around: Frames::default(),
            chosen: false,
            hosts: false,
            seen: alone,
            page: 1,
            over: false,
        }
    }

    /// Whether anybody wants to see the lake.
    pub(super) fn wants_lake(&self) -> bool {
        self.alone || (self.seen && !self.hosts) || (self.chosen && self.selected().process.is_none())
    }

    /// Takes in a look, unless the picture is held.
    pub(super) fn take(&mut self, look: Look) {
        if self.around.paused {
            return;
        }
        match look {
            Look::Lake(said) => {
                if let Some(lake) = self.subjects.last_mut() {
                    lake.says(said.map(|found| (found.0, Some(found.1))));
                }
            }
            Look::Hosts(at, hosts) => self.take_hosts(at, hosts),
        }
        self.around.tabs = self.subjects.iter().map(Subject::name).collect();
    }

    fn take_hosts(&mut self, at: Micros, hosts: Vec<Host>) {
        (self.seen, self.hosts) = (true, !hosts.is_empty());
        for subject in self.subjects.iter_mut().filter(|subject| subject.process.is_some()) {
            if !hosts.iter().any(|host| Some(host.pid) == subject.process) {
                subject.gone.get_or_insert(at);
            }
        }
        for host in hosts {
            let at = self.place_of(&host);
            self.subjects[at].says(host.status.map(|status| (status, None)));
        }
        let gone = self.subjects.iter().filter(|subject| subject.gone.is_some()).count();
        let longest = self.subjects.iter().position(|subject| subject.gone.is_some());
        if let Some(at) = longest.filter(|_| gone > GONE) {
            self.subjects.remove(at);
            self.around.selected -= usize::from(self.around.selected > at);
        }
        if !self.chosen && self.hosts && self.selected().process.is_none() {
            self.around.selected = 0;
        }
    }

    /// Where a host stands: it takes the place of one of its pipeline that is gone.
    fn place_of(&mut self, host: &Host) -> usize {
        let known = self.subjects.iter().position(|one| one.process == Some(host.pid));
        if let Some(at) = known {
            return at;
        }
        let pipeline = host.status.as_ref().ok().map(|status| status.host.pipeline.as_str());
        let gone = |one: &Subject| one.gone.is_some() && pipeline.is_some() && one.pipeline() == pipeline;
        if let Some(at) = self.subjects.iter().position(gone) {
            self.subjects[at] = Subject::host(host.pid);
            return at;
        }
        let at = self.subjects.len() - 1;
        self.subjects.insert(at, Subject::host(host.pid));
        // What is shown stays.
        if self.around.selected >= at && self.chosen {
            self.around.selected += 1;
        }
        at
    }

    fn selected(&self) -> &Subject {
        &self.subjects[self.around.selected]
    }

    /// What is shown now.
    pub(super) fn view(&self, now: Micros) -> View {
        let mut view = match self.seen {
            false => View::nothing("tidemill monitor", &[], "looking for hosts …"),
            true => self.selected().view(&self.bounds, now, false),
        };
        if self.seen && !self.hosts && !self.alone {
            view.notes.insert(0, format!("no host runs here as this user ({})", self.looked));
        }
        view
    }

    /// The terminal shows so many lines of the tables.
    pub(super) fn page(&mut self, lines: usize) {
        self.page = lines;
    }

    /// Does what a key says.
    pub(super) fn press(&mut self, key: Key) {
        let (subjects, around) = (self.subjects.len(), &mut self.around);
        match key {
            Key::Quit => self.over = true,
            Key::Escape if around.help => around.help = false,
            Key::Escape => self.over = true,
            Key::Next | Key::Before => {
                let step = if key == Key::Next { 1 } else { subjects - 1 };
                (around.selected, around.scroll) = ((around.selected + step) % subjects, 0);
                self.chosen = true;
            }
            Key::Up => around.scroll = around.scroll.saturating_sub(1),
            Key::Down => around.scroll += 1,
            Key::PageUp => around.scroll = around.scroll.saturating_sub(self.page),
            Key::PageDown => around.scroll += self.page,
            Key::Top => around.scroll = 0,
            // Drawing takes it back to where the last page begins.
            Key::Bottom => around.scroll = usize::MAX / 2,
            Key::Pause => around.paused = !around.paused,
            Key::Help => (around.help, around.scroll) = (!around.help, 0),
        }
    }
}

#[cfg(test)]
mod tests;
