//! What must hold in the end, when late requests have landed and one host has read everything to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::position::View;
use super::super::record::{DataFile, Record, RecordKind};
use super::checks::{Category, emitted, read_state};
use super::host::{HOURS, TABLES, log};
use super::process::Process;
use super::world::{Row, State, What};
use crate::Result;

/// Compares what a start from a summary sees with what the whole log says, and all that with what readers see.
pub(super) async fn audit(process: Process) -> Result<()> {
    let mut opened = log(&process);
    opened.open().await?;
    let records = process.world.state().pipelines[process.pipeline].truth.records.clone();
    let mut folded = View::default();
    for record in &records {
        folded.fold(Arc::new(record.clone()));
    }
    let mut found = Vec::new();
    compare(opened.view(), &folded, &mut found);
    let live = live_files(&records);
    for table in TABLES {
        for hour in HOURS {
            let date = hour.values().0;
            let listed = opened.live(table, &date).await?;
            let expected: BTreeMap<String, DataFile> = live
                .iter()
                .filter(|(_, file)| file.file.table == table && file.file.hour.values().0 == date)
                .map(|(key, file)| (key.clone(), file.clone()))
                .collect();
            if listed != expected {
                let (listed, expected): (Vec<_>, Vec<_>) =
                    (listed.keys().collect(), expected.keys().collect());
                found.push(format!("{table} {date}: live are {listed:?}, the log says {expected:?}"));
            }
        }
    }
    let mut state = process.world.state();
    for text in found {
        state.violate(Category::Summary, text);
    }
    state.all_is_well(process.pipeline, &live);
    Ok(())
}

/// The files that are true, from the whole log.
fn live_files(records: &[Record]) -> BTreeMap<String, DataFile> {
    let mut live = BTreeMap::new();
    for record in records {
        for file in &record.supersedes {
            live.remove(&file.file.key);
        }
        live.extend(record.files.iter().map(|file| (file.file.key.clone(), file.clone())));
    }
    live
}

/// A view from a summary knows the same of everything that somebody may still ask.
fn compare(opened: &View, folded: &View, found: &mut Vec<String>) {
    if (opened.next, &opened.topic) != (folded.next, &folded.topic) {
        found.push(format!("the tail is {} instead of {}", opened.next, folded.next));
    }
    if opened.last != folded.last || opened.maintenance != folded.maintenance {
        found.push("last records differ".into());
    }
    if (&opened.generations, &opened.retired, &opened.sweeping)
        != (&folded.generations, &folded.retired, &folded.sweeping)
    {
        found.push("generations differ, or what was not swept".into());
    }
    if opened.covered != folded.covered {
        found.push("what is known of history differs".into());
    }
    if opened.fenced != folded.fenced {
        found.push("fenced epochs differ".into());
    }
    let known = folded.last.values().chain(folded.repairs.values()).flat_map(|record| &record.files);
    for key in known.map(|file| &file.file.key) {
        let of_last = folded.last.values().flat_map(|r| &r.files).any(|file| file.file.key == *key);
        if of_last
            && (opened.repair_of(key) != folded.repair_of(key) || opened.is_live(key) != folded.is_live(key))
        {
            found.push(format!("what became of {key} differs"));
        }
    }
}

impl State {
    /// Everything that was read is visible once, and nothing else.
    fn all_is_well(&mut self, of: usize, live: &BTreeMap<String, DataFile>) {
        let mut found = Vec::new();
        let pipeline = &self.pipelines[of];
        let truth = &pipeline.truth;
        for (p, (_, high)) in (0..).zip(pipeline.ends.iter().copied()) {
            let position = truth.position(p);
            if position != Some(high) {
                found.push((Category::Lost, format!("partition {p} is at {position:?}, not at {high}")));
            }
            let start = truth.started.get(&p).copied().unwrap_or_default();
            let gaps: BTreeSet<i64> = truth
                .records
                .iter()
                .filter(|record| record.kind == RecordKind::Gap)
                .flat_map(|record| &record.partitions)
                .filter(|advance| advance.partition == p)
                .flat_map(|advance| advance.from..advance.to)
                .collect();
            let shown = |what: What, at: i64| {
                let row = Row { pipeline: of, what, partition: p, at };
                let count = self.shown.get(&row).copied().unwrap_or_default();
                // What has expired is not to be seen, and what is not is to be seen once.
                if truth.expired.contains(&row) { 1 + count } else { count }
            };
            for offset in (start..high).filter(|offset| !gaps.contains(offset)) {
                if shown(What::Event, offset) != 1 || (emitted(offset) && shown(What::Emitted, offset) != 1) {
                    found.push((Category::Lost, format!("event {offset} of partition {p} is not visible")));
                }
            }
            let windows = truth.last.get(&p).map_or(0, |(seq, _)| self.windows(of, *seq, p));
            for window in 0..windows {
                if shown(What::Window, window) != 1 {
                    found.push((Category::Lost, format!("window {window} of partition {p} is not visible")));
                }
            }
        }
        found.extend(self.history(of).into_iter().map(|text| (Category::Lost, text)));
        for (key, file) in live {
            if self.visible.get(key) != self.rows.get(key) {
                let seq = truth.named[key];
                found.push((Category::Unseen, format!("{key} of record {seq} never became visible")));
            }
            let place = (file.file.table.clone(), file.file.hour.0);
            if pipeline.registered.get(&place) != Some(&Some(file.generation)) {
                let shown = pipeline.registered.get(&place);
                found.push((
                    Category::Catalog,
                    format!("the catalog shows {shown:?} of {place:?}, where {key} is"),
                ));
            }
        }
        for record in &truth.records {
            found.extend(self.left(of, record).map(|text| (Category::Left, text)));
        }
        for (category, text) in found {
            self.violate(category, text);
        }
    }

    /// How many windows the state of a partition's last record has closed.
    fn windows(&self, at: usize, seq: u64, partition: i32) -> i64 {
        let record = &self.pipelines[at].truth.records[usize::try_from(seq).expect("in memory")];
        let advance = record.partitions.iter().find(|a| a.partition == partition);
        let state = advance.and_then(|a| a.transforms.first()?.state.as_ref());
        let bytes = state.and_then(|state| self.objects.get(&state.key));
        read_state(bytes.map_or(&[], |(bytes, _)| bytes)).1
    }
}
