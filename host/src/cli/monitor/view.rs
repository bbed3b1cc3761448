//! What is shown of a host or of the lake: pure, from what it says to lines, tables and graphs. No size is known here
//! yet, and no colours.

use std::time::Duration;

use super::alarms::Alarm;
use super::figures::{Figures, History};
use super::lake::Facts;
use crate::cli::status::report::{ago, partition_state, short, transform_state};
use crate::cli::{age, size};
use crate::env::Micros;
use crate::observe::{At, PartitionStatus, Status, TransformState, TransformStatus};

use super::waits::between;

/// Reasons of rejects, and commits, that are shown.
const REASONS: usize = 20;
const COMMITS: usize = 20;

/// How a piece of text is to be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    /// All is well.
    Good,
    /// Look at it.
    Warn,
    /// It needs a person.
    Bad,
    /// It explains the rest.
    Dim,
}

/// A value in a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// A column: its name, whether its values stand at its left, and how soon it may go where there is no room for all
/// (the greatest first; 0: never).
#[derive(Clone, Copy, Debug)]
pub(super) struct Column(pub(super) &'static str, pub(super) bool, pub(super) u8);

/// A table, with its title.
#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// What stands below the rows, or in their place.
    pub(super) lines: Vec<(Tone, String)>,
}

/// A number with its past.
#[derive(Clone, Debug, Default)]
pub(super) struct Gauge {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) tone: Tone,
    pub(super) past: Vec<Option<u64>>,
}

/// Everything that is shown.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// Who it is.
    pub(super) title: String,
    /// What needs a person, a line each.
    pub(super) alarms: Vec<String>,
    /// What explains what is shown.
    pub(super) notes: Vec<String>,
    pub(super) gauges: Vec<Gauge>,
    pub(super) summary: String,
    pub(super) sections: Vec<Section>,
}

/// What a view is made of.
pub(super) struct Shown<'a> {
    pub(super) status: &'a Status,
    /// Of the lake, not of a host.
    pub(super) lake: Option<&'a Facts>,
    pub(super) alarms: &'a [Alarm],
    pub(super) figures: Figures,
    pub(super) history: &'a History,
    /// An event may wait so long.
    pub(super) bound: Duration,
}

impl View {
    /// Shows a host, or the lake.
    pub(super) fn of(shown: &Shown<'_>) -> View {
        let (status, lake) = (shown.status, shown.lake);
        let mut view = View {
            title: title(status, lake),
            alarms: shown.alarms.iter().map(|alarm| plain(&alarm.what)).collect(),
            gauges: gauges(shown),
            summary: summary(status, lake),
            ..View::default()
        };
        let unread = lake.and_then(|lake| lake.silent.as_ref());
        view.notes.extend(unread.map(|why| plain(&format!("lag is not known: {why}"))));
        if lake.is_none() && status.set.is_none() {
            let what = "it is starting: brokers, zones or catalog have not answered yet (its log says which)";
            view.notes.push(what.into());
            return view;
        }
        view.sections.push(partitions(status, lake));
        view.sections.push(transforms(status, lake));
        view.sections.extend(lake.is_none().then(|| rejects(status)));
        view.sections.push(commits(status, lake));
        view
    }

    /// Says why there is nothing else to see.
    pub(super) fn nothing(title: &str, alarms: &[Alarm], note: &str) -> View {
        View {
            title: plain(title),
            alarms: alarms.iter().map(|alarm| plain(&alarm.what)).collect(),
            notes: vec![plain(note)],
            ..View::default()
        }
    }
}

/// Names and errors may be a guest's: none of it may steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

fn title(status: &Status, lake: Option<&Facts>) -> String {
    let host = &status.host;
    plain(&match lake {
        Some(lake) => format!("lake of pipeline {}, topic {}, {}", host.pipeline, host.topic, lake.place),
        None => format!(
            "pipeline {}, topic {}, process {}, up {}, host {}, tidemill {}",
            host.pipeline,
            host.topic,
            host.pid,
            age(between(host.started.0, status.at.0)),
            host.name,
            host.version
        ),
    })
}

fn gauges(shown: &Shown<'_>) -> Vec<Gauge> {
    let Figures { rate, freshness, lag, .. } = shown.figures;
    let (past, waits) = (|number: fn(&Figures) -> Option<f64>| shown.history.past(number), lag > Some(0));
    let old = freshness.is_some_and(|time| time > shown.bound);
    let unknown = || "unknown".to_owned();
    vec![
        Gauge {
            name: "events/s",
            value: rate.map_or("-".into(), |rate| format!("{rate:.0}")),
            tone: Tone::Plain,
            past: past(|figures| figures.rate),
        },
        Gauge {
            name: if shown.lake.is_some() { "newest event" } else { "freshness" },
            value: freshness.map_or("-".into(), short),
            tone: if old && waits { Tone::Warn } else { Tone::Good },
            past: past(|figures| figures.freshness.map(|time| time.as_secs_f64() * 1000.0)),
        },
        Gauge {
            name: "lag",
            value: lag.map_or_else(unknown, |lag| lag.to_string()),
            tone: if lag.is_none() { Tone::Warn } else { Tone::Plain },
            // A graph has no need of more than 53 bits.
            past: past(|figures| figures.lag.map(|lag| lag as f64)),
        },
    ]
}

fn summary(status: &Status, lake: Option<&Facts>) -> String {
    let last = match &status.last_commit {
        Some(last) => format!("last commit {}, record {}", ago(status, last.at), last.label()),
        None => "nothing committed yet".into(),
    };
    match lake {
        Some(lake) if lake.logs > 1 => format!("{last}; {} records in {} logs", lake.records, lake.logs),
        Some(lake) => format!("{last}; {} records in the log", lake.records),
        None => {
            let Status { commits, events, abandoned, .. } = status;
            format!(
                "{last}; since the start {commits} commits, {events} events, {abandoned} epochs abandoned"
            )
        }
    }
}

const PARTITIONS: [Column; 9] = [
    Column("partition", false, 0),
    Column("state", true, 0),
    Column("committed", false, 2),
    Column("end", false, 5),
    Column("lag", false, 0),
    Column("freshness", false, 1),
    Column("last commit", false, 0),
    Column("lane", false, 4),
    Column("set", false, 3),
];

const PLACES: [Column; 7] = [
    Column("partition", false, 0),
    Column("committed", false, 0),
    Column("end", false, 4),
    Column("lag", false, 0),
    Column("last record", false, 2),
    Column("last commit", false, 0),
    Column("newest event", false, 1),
];

fn partitions(status: &Status, lake: Option<&Facts>) -> Section {
    let mut section = Section { title: "partitions".into(), ..Section::default() };
    section.columns = if lake.is_some() { PLACES.to_vec() } else { PARTITIONS.to_vec() };
    section.rows = status
        .partitions
        .iter()
        .map(|(number, one)| match lake {
            Some(lake) => place(status, lake, *number, one),
            None => partition(status, *number, one),
        })
        .collect();
    if section.rows.is_empty() {
        let why = match lake {
            Some(_) => "none was begun, and the brokers have not said what there is",
            None => "none: the group has not given it any",
        };
        section.lines.push((Tone::Dim, why.into()));
    }
    section
}

fn partition(status: &Status, number: i32, one: &PartitionStatus) -> Vec<Cell> {
    let tone = match (one.paused, one.fell_back_from) {
        (true, _) => Tone::Bad,
        (false, Some(_)) => Tone::Warn,
        (false, None) if one.set != status.set_of(number) => Tone::Warn,
        (false, None) => Tone::Good,
    };
    let freshness = one.freshness_ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or_default()));
    vec![
        cell(number),
        Cell { text: partition_state(status, number, one).into(), tone },
        or(one.committed),
        or(one.end),
        lag(one),
        or(freshness.map(short)),
        or(one.last_commit.map(|at| ago(status, at))),
        cell(one.lane),
        or(one.set),
    ]
}

fn place(status: &Status, lake: &Facts, number: i32, one: &PartitionStatus) -> Vec<Cell> {
    vec![
        cell(number),
        or(one.committed),
        or(one.end),
        lag(one),
        or(lake.last.get(&number)),
        or(one.last_commit.map(|at| ago(status, at))),
        or(lake.newest.get(&number).map(|newest| ago(status, At(*newest)))),
    ]
}

fn lag(one: &PartitionStatus) -> Cell {
    match one.lag {
        Some(lag) => cell(lag),
        None => Cell { text: "unknown".into(), tone: Tone::Warn },
    }
}

const TRANSFORMS: [Column; 11] = [
    Column("name", true, 0),
    Column("version", true, 4),
    Column("digest", true, 6),
    Column("state", true, 0),
    Column("since", true, 7),
    Column("rows in", false, 1),
    Column("emitted", false, 5),
    Column("rejected", false, 2),
    Column("filtered", false, 9),
    Column("absorbed", false, 8),
    Column("per row", false, 0),
];

const COMPONENTS: [Column; 4] =
    [Column("name", true, 0), Column("version", true, 0), Column("file", true, 2), Column("digest", true, 1)];

fn transforms(status: &Status, lake: Option<&Facts>) -> Section {
    let title = match (status.set, lake) {
        (None, _) => "transforms: the log names none yet".into(),
        (Some(_), Some(lake)) if lake.logs > 1 => format!("transforms in the sets of {} logs", lake.logs),
        (Some(_), None) if !status.logs.is_empty() => {
            let (logs, place) = (status.logs.len(), plain(&status.host.transforms));
            format!("transforms, of {logs} logs ({place})")
        }
        (Some(set), Some(lake)) => {
            let since = lake.set_at.map(|at| format!(", {}", ago(status, at))).unwrap_or_default();
            format!("transforms in the log's set, of record {set}{since}")
        }
        (Some(set), None) => format!("transforms, of record {set} ({})", plain(&status.host.transforms)),
    };
    let columns = if lake.is_some() { COMPONENTS.to_vec() } else { TRANSFORMS.to_vec() };
    let mut section = Section { title, columns, ..Section::default() };
    for one in &status.transforms {
        section.rows.push(match lake {
            Some(_) => [&one.name, &one.version, &one.file, digest(one)].map(cell).to_vec(),
            None => transform(status, one),
        });
    }
    for one in &status.transforms {
        if let Some(trouble) = &one.last_error {
            let (when, on) = (ago(status, trouble.at), trouble.partition);
            let line = format!("last error of {}, {when}, partition {on}: {}", one.name, trouble.error);
            section.lines.push((Tone::Warn, plain(&line)));
        }
    }
    section
}

fn digest(one: &TransformStatus) -> &str {
    one.digest.get(..12).unwrap_or(&one.digest)
}

fn transform(status: &Status, one: &TransformStatus) -> Vec<Cell> {
    let tone = match one.state {
        TransformState::Live => Tone::Good,
        TransformState::StandsStill => Tone::Bad,
        TransformState::FellBack | TransformState::GoingOver => Tone::Warn,
        TransformState::Old => Tone::Dim,
    };
    vec![
        cell(&one.name),
        cell(&one.version),
        Cell { text: plain(digest(one)), tone: Tone::Dim },
        Cell { text: transform_state(status, one), tone },
        or(one.since.map(|at| ago(status, at))),
        cell(one.rows.input),
        cell(one.rows.emitted),
        cell(one.rows.rejected),
        cell(one.rows.filtered),
        cell(one.rows.absorbed),
        or(one.ns_per_row.map(|ns| short(Duration::from_nanos(ns)))),
    ]
}

fn rejects(status: &Status) -> Section {
    let total: u64 = status.rejects.values().sum();
    let mut section = Section { title: format!("rejects since the start: {total}"), ..Section::default() };
    section.columns = vec![Column("events", false, 0), Column("reason", true, 0)];
    let mut all: Vec<(&String, &u64)> = status.rejects.iter().collect();
    all.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), *reason));
    section.rows = all.iter().take(REASONS).map(|(reason, count)| vec![cell(count), cell(reason)]).collect();
    if all.len() > REASONS {
        let more = all.len() - REASONS;
        section.lines.push((Tone::Dim, format!("and {more} more reasons: tidemill rejects")));
    }
    section
}

const COMMITS_OF_HOST: [Column; 7] = [
    Column("record", false, 0),
    Column("when", true, 0),
    Column("events", false, 0),
    Column("files", false, 2),
    Column("bytes", false, 1),
    Column("took", false, 0),
    Column("freshness", false, 0),
];

const RECORDS: [Column; 7] = [
    Column("record", false, 0),
    Column("when", true, 0),
    Column("kind", true, 0),
    Column("events", false, 0),
    Column("files", false, 2),
    Column("bytes", false, 1),
    Column("writer", true, 3),
];

fn commits(status: &Status, lake: Option<&Facts>) -> Section {
    let mut section = Section { title: "last commits".into(), ..Section::default() };
    if let Some(lake) = lake {
        section.columns = RECORDS.to_vec();
        let newest = lake.recent.iter().rev().take(COMMITS);
        section.rows.extend(newest.map(|entry| {
            let commit = &entry.commit;
            vec![
                cell(commit.label()),
                cell(ago(status, commit.at)),
                cell(entry.kind),
                cell(commit.events),
                cell(commit.files),
                cell(size(commit.bytes)),
                cell(&entry.writer),
            ]
        }));
    } else {
        section.columns = COMMITS_OF_HOST.to_vec();
        // A host of an earlier version keeps only the last.
        let only = status.last_commit.iter().filter(|_| status.recent.is_empty());
        section.rows.extend(only.chain(status.recent.iter().rev().take(COMMITS)).map(|commit| {
            let fresh = commit.freshness_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
            vec![
                cell(commit.label()),
                cell(ago(status, commit.at)),
                cell(commit.events),
                cell(commit.files),
                cell(size(commit.bytes)),
                cell(short(Duration::from_millis(commit.took_ms))),
                or(fresh.map(short)),
            ]
        }));
    }
    if section.rows.is_empty() {
        section.lines.push((Tone::Dim, "nothing committed yet".into()));
    }
    section
}

fn cell(value: impl ToString) -> Cell {
    Cell { text: plain(&value.to_string()), tone: Tone::Plain }
}

fn or<T: ToString>(value: Option<T>) -> Cell {
    value.map_or(Cell { text: "-".into(), tone: Tone::Dim }, cell)
}

/// How long ago something was that is not a look's.
pub(super) fn since(from: Micros, now: Micros) -> String {
    format!("{} ago", age(between(from, now)))
}
