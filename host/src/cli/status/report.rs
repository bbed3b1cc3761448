//! How a host is, for people.

use std::fmt::Write;
use std::time::Duration;

use crate::cli::{age, size, table};
use crate::observe::{At, PartitionStatus, Status, TransformState, TransformStatus};

const TRANSFORMS: [&str; 11] = [
    "name", "version", "digest", "state", "since", "rows in", "emitted", "rejected", "filtered", "absorbed",
    "per row",
];
const PARTITIONS: [&str; 8] =
    ["partition", "lane", "set", "state", "committed", "lag", "freshness", "last commit"];

/// Logs that are named one by one.
const NAMED: usize = 8;

/// Everything about one host.
pub(super) fn report(status: &Status, coloured: bool) -> String {
    // Names and errors may be a guest's: none of it may steer a terminal.
    let plain = text(status).replace(|c: char| c.is_control() && c != '\n', " ");
    let line = |line: &str| match coloured && line.starts_with("! ") {
        true => format!("\x1b[1;31m{line}\x1b[0m\n"),
        false => format!("{line}\n"),
    };
    plain.lines().map(line).collect()
}

/// Writing to a string cannot fail.
fn text(status: &Status) -> String {
    let mut text = String::new();
    let host = &status.host;
    let _ = writeln!(
        text,
        "tidemill {}, pipeline {}, topic {}, host {}, process {}, up {}",
        host.version,
        host.pipeline,
        host.topic,
        host.name,
        host.pid,
        since(status, host.started)
    );
    if !host.dashboard.is_empty() {
        let _ = writeln!(text, "dashboard: {}", host.dashboard);
    }
    for line in &status.attention {
        let _ = writeln!(text, "! {line}");
    }
    let Some(set) = status.set else {
        text.push_str(
            "it is starting: brokers, zones or catalog have not answered yet (its log says which)\n",
        );
        return text;
    };
    let sets = match status.logs.len() {
        0 => format!("record {set}"),
        logs => sets(status, logs),
    };
    let _ = writeln!(text, "\ntransforms, of {sets} ({})", host.transforms);
    text.push_str(&rows(
        &TRANSFORMS,
        status.transforms.iter().map(|one| transform(status, one)),
        &[0, 1, 2, 3, 4],
    ));
    for one in &status.transforms {
        if let Some(trouble) = &one.last_error {
            let (name, partition) = (&one.name, trouble.partition);
            let when = ago(status, trouble.at);
            let _ = writeln!(text, "last error of {name}, {when}, partition {partition}: {}", trouble.error);
        }
    }
    match status.partitions.is_empty() {
        true => text.push_str("\nno partitions: the group has not given it any\n"),
        false => {
            text.push_str("\npartitions\n");
            let partitions = status.partitions.iter().map(|(number, one)| partition(status, *number, one));
            text.push_str(&rows(&PARTITIONS, partitions, &[3]));
        }
    }
    text.push_str(&commits(status));
    text
}

fn rows<const N: usize>(head: &[&str; N], rows: impl Iterator<Item = [String; N]>, left: &[usize]) -> String {
    let head = head.map(str::to_owned).to_vec();
    table(&std::iter::once(head).chain(rows.map(Vec::from)).collect::<Vec<_>>(), left)
}

fn transform(status: &Status, one: &TransformStatus) -> [String; 11] {
    [
        one.name.clone(),
        one.version.clone(),
        one.digest.get(..12).unwrap_or(&one.digest).into(),
        transform_state(status, one),
        one.since.map_or("-".into(), |at| ago(status, at)),
        one.rows.input.to_string(),
        one.rows.emitted.to_string(),
        one.rows.rejected.to_string(),
        one.rows.filtered.to_string(),
        one.rows.absorbed.to_string(),
        one.ns_per_row.map_or("-".into(), |ns| short(Duration::from_nanos(ns))),
    ]
}

fn partition(status: &Status, number: i32, one: &PartitionStatus) -> [String; 8] {
    let number_or = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let freshness = one.freshness_ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or_default()));
    [
        number.to_string(),
        one.lane.to_string(),
        number_or(one.set.map(|set| set.to_string())),
        partition_state(status, number, one).into(),
        number_or(one.committed.map(|at| at.to_string())),
        one.lag.map_or("unknown".into(), |lag| lag.to_string()),
        freshness.map_or("-".into(), short),
        one.last_commit.map_or("-".into(), |at| ago(status, at)),
    ]
}

/// The records that name the transforms, in the logs of this host's partitions: each has its own numbers.
fn sets(status: &Status, logs: usize) -> String {
    let ours = status.logs.iter().enumerate().filter(|(_, log)| !log.partitions.is_empty());
    let named: Vec<String> =
        ours.filter_map(|(number, log)| Some(format!("{number}/{}", log.set?))).take(NAMED).collect();
    match named.is_empty() {
        true => format!("{logs} logs"),
        false => format!("{logs} logs, records {}", named.join(" ")),
    }
}

/// How a transform is, in a word or with the partitions that are different.
pub(in crate::cli) fn transform_state(status: &Status, one: &TransformStatus) -> String {
    let (all, on) = (status.partitions.len(), one.partitions.len());
    match one.state {
        TransformState::Live | TransformState::StandsStill => one.state.name().into(),
        TransformState::FellBack => format!("fell back in {} of {all}", all.saturating_sub(on)),
        TransformState::GoingOver | TransformState::Old => {
            format!("{}, {on} of {all} run it", one.state.name())
        }
    }
}

/// How a partition is, in a word.
pub(in crate::cli) fn partition_state(status: &Status, number: i32, one: &PartitionStatus) -> &'static str {
    match (one.paused, one.fell_back_from) {
        (true, _) => "stands still",
        (false, Some(_)) => "fell back",
        (false, None) if one.set != status.set_of(number) => "going over",
        (false, None) => "runs",
    }
}

fn commits(status: &Status) -> String {
    let Some(last) = &status.last_commit else {
        return format!("\nnothing committed yet, {} epochs abandoned\n", status.abandoned);
    };
    format!(
        "\nlast commit: record {}, {}: {} events, {} files, {}, took {}\nsince the start: {} commits, {} events, {} \
         epochs abandoned\n",
        last.label(),
        ago(status, last.at),
        last.events,
        last.files,
        size(last.bytes),
        short(Duration::from_millis(last.took_ms)),
        status.commits,
        status.events,
        status.abandoned
    )
}

fn since(status: &Status, at: At) -> String {
    let micros = u64::try_from(status.at.0.saturating_sub(at.0)).unwrap_or_default();
    age(Duration::from_micros(micros))
}

/// How long ago a moment was.
pub(in crate::cli) fn ago(status: &Status, at: At) -> String {
    format!("{} ago", since(status, at))
}

/// A short time for people: three digits of it at most.
pub(in crate::cli) fn short(time: Duration) -> String {
    if time >= Duration::from_secs(60) {
        return age(time);
    }
    let (mut value, mut unit) = (time.as_nanos() as f64, "ns");
    for next in ["us", "ms", "s"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    if unit == "ns" || value >= 100.0 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests;
