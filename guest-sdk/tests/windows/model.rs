//! The same tables, made in the simplest way: rows are put in lists, and each list is looked at as a whole.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use tidemill_sdk::Timestamp;

use crate::aggregations::{GAP, SIZE, SIZES, SLIDE};
use crate::run::{Row, Table};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Tumbling,
    Sliding,
    Nested,
    Sessions,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Given {
    /// Increments of what is forgotten: nothing is late.
    Additive,
    /// Increments, with distinct users.
    Retained,
    /// Once.
    Once,
}

/// A list of rows that become one row of the table.
struct Group {
    start: i64,
    end: i64,
    key: u8,
    rows: Vec<Row>,
}

pub(crate) fn model(kind: Kind, given: Given, rows: &[Row], correct: bool) -> Table {
    let sliding = |at: i64, slide: i64| {
        let last = at.div_euclid(slide) * slide;
        let starts = (0..).map(|i| last - i * slide).take_while(|start| start + SIZE > at);
        starts.map(|start| (start, start + SIZE)).collect()
    };
    let nested =
        |at: i64| SIZES.map(|size| (at.div_euclid(size) * size, at.div_euclid(size) * size + size)).to_vec();
    let never_late = given == Given::Additive;
    let (groups, late) = match kind {
        Kind::Tumbling => fixed(|at| sliding(at, SIZE), never_late, rows, correct),
        Kind::Sliding => fixed(|at| sliding(at, SLIDE), never_late, rows, correct),
        Kind::Nested => fixed(nested, never_late, rows, correct),
        Kind::Sessions => sessions(rows, correct),
    };
    let mut table: Vec<String> =
        if given == Given::Once { groups.iter().map(whole).collect() } else { merged(&groups, given) };
    table.sort();
    Table { rows: table, late }
}

/// Windows by what a time is in: start and end of each.
fn fixed(
    windows: impl Fn(i64) -> Vec<(i64, i64)>,
    never_late: bool,
    rows: &[Row],
    correct: bool,
) -> (Vec<Group>, Vec<usize>) {
    let (mut open, mut corrections, mut late) = (BTreeMap::<(i64, i64, u8), Group>::new(), vec![], vec![]);
    for (offset, row) in rows.iter().enumerate() {
        let mut taken = false;
        for (start, end) in windows(row.at) {
            let (key, is_late) = (row.key, end <= row.mark && !never_late);
            let group = || Group { start, end, key, rows: vec![] };
            if !is_late {
                open.entry((start, end, key)).or_insert_with(group).rows.push(row.clone());
            } else if correct {
                corrections.push(Group { rows: vec![row.clone()], ..group() });
            }
            taken |= !is_late || correct;
        }
        if !taken {
            late.push(offset);
        }
    }
    (open.into_values().chain(corrections).collect(), late)
}

fn sessions(rows: &[Row], correct: bool) -> (Vec<Group>, Vec<usize>) {
    let (mut open, mut closed, mut late) = (Vec::<Group>::new(), vec![], vec![]);
    for (offset, row) in rows.iter().enumerate() {
        let (still, done): (Vec<_>, Vec<_>) = open.into_iter().partition(|group| group.end + GAP > row.mark);
        closed.extend(done);
        let (mut near, rest): (Vec<_>, Vec<_>) = still.into_iter().partition(|group| {
            group.key == row.key && group.start - GAP < row.at && row.at < group.end + GAP
        });
        open = rest;
        let new = Group { start: row.at, end: row.at, key: row.key, rows: vec![] };
        if near.is_empty() && row.at + GAP <= row.mark {
            if correct {
                closed.push(Group { rows: vec![row.clone()], ..new });
            } else {
                late.push(offset);
            }
            continue;
        }
        near.sort_by_key(|group| group.start);
        let mut rows: Vec<Row> = near.iter().flat_map(|group| group.rows.clone()).collect();
        rows.push(row.clone());
        let start = near.iter().map(|group| group.start).min().unwrap_or(row.at).min(row.at);
        let end = near.iter().map(|group| group.end).max().unwrap_or(row.at).max(row.at);
        open.push(Group { start, end, rows, ..new });
    }
    closed.extend(open);
    (closed, late)
}

/// Rows, users, amount, least, most.
fn numbers(group: &Group) -> [i64; 5] {
    let users: BTreeSet<u16> = group.rows.iter().map(|row| row.user).collect();
    let amounts = || group.rows.iter().map(|row| row.amount);
    let (least, most) = (amounts().min().unwrap_or(0), amounts().max().unwrap_or(0));
    let number = |length: usize| i64::try_from(length).expect("few rows");
    [number(group.rows.len()), number(users.len()), amounts().sum(), least, most]
}

fn line(group: &Group, [rows, users, amount, least, most]: [i64; 5]) -> String {
    let (start, end) = (Timestamp(group.start), Timestamp(group.end));
    format!("{start}, {end}, k{}, {rows}, {users}, {amount}, {least}, {most}", group.key)
}

fn whole(group: &Group) -> String {
    // Stable: of several at one time the first of `min_by_key`, and the last of `max_by_key`.
    let first = group.rows.iter().min_by_key(|row| row.at).map_or(0, |row| row.user);
    let last = group.rows.iter().max_by_key(|row| row.at).map_or(0, |row| row.user);
    let mut counts = BTreeMap::<String, i64>::new();
    for row in &group.rows {
        *counts.entry(format!("u{}", row.user)).or_insert(0) += 1;
    }
    let mut top: Vec<_> = counts.into_iter().collect();
    top.sort_by_key(|(_, count)| Reverse(*count));
    let top = top.iter().map(|(user, count)| format!("{user}={count}")).collect::<Vec<_>>().join(" ");
    format!("{}, u{first}, u{last}, {top}", line(group, numbers(group)))
}

fn merged(groups: &[Group], given: Given) -> Vec<String> {
    let mut merged = BTreeMap::<(i64, i64, u8), (&Group, [i64; 5])>::new();
    for group in groups {
        let mut new = numbers(group);
        if given == Given::Additive {
            new[1] = 0;
        }
        let entry = merged.entry((group.start, group.end, group.key));
        entry
            .and_modify(|(_, have)| {
                (0..3).for_each(|i| have[i] += new[i]);
                (have[3], have[4]) = (have[3].min(new[3]), have[4].max(new[4]));
            })
            .or_insert((group, new));
    }
    merged.into_values().map(|(group, numbers)| line(group, numbers)).collect()
}
