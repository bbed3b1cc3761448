//! Runs an aggregation over rows as a host may: with batches, flushes, commits, restarts and crashes anywhere.

use std::collections::BTreeMap;

use tidemill_sdk::Timestamp;
use tidemill_sdk::testing::{InputRow, Outcome, Tested, Value, open, row};
use tidemill_sdk::window::{Aggregation, Windowed};

/// A row; its offset is its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) at: i64,
    pub(crate) mark: i64,
    pub(crate) key: u8,
    pub(crate) user: u16,
    pub(crate) amount: i64,
}

impl Row {
    fn input(&self) -> InputRow {
        row()
            .set("at", Timestamp(self.at))
            .set("mark", Timestamp(self.mark))
            .set("key", format!("k{}", self.key))
            .set("user", format!("u{}", self.user))
            .set("amount", self.amount)
    }
}

/// What happens before a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// It is in the batch of the row before it.
    Go,
    /// Another batch.
    Cut,
    /// One call of flush.
    Flush,
    /// Flush until there is no more, snapshot: what was handed out is true from here on.
    Commit,
    /// Another instance goes on, without a flush.
    Restart,
    /// Everything since the last commit is lost and comes again.
    Crash,
}

/// The rows of a table, as text: sorted, or merged if they are changes; and which rows were late.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) rows: Vec<String>,
    pub(crate) late: Vec<usize>,
}

/// Runs until all windows are closed.
pub(crate) fn run<A: Aggregation>(rows: &[Row], steps: &[Step], correct: bool) -> Table {
    let config: &[(&str, &str)] = if correct { &[("late", "correct")] } else { &[] };
    let new = || open::<Windowed<A>>(config);
    let mut host = Host::<A> { instance: new(), pending: Given::default(), committed: Given::default() };
    let (mut at, mut from, mut crashed) = (0, 0, None);
    let mut saved: Option<Vec<u8>> = None;
    while at < rows.len() {
        match steps.get(at).copied().unwrap_or(Step::Go) {
            // Once: what comes again, comes through.
            Step::Crash if crashed < Some(at) => {
                crashed = Some(at);
                host.instance = new();
                host.pending = Given::default();
                if let Some(state) = &saved {
                    host.instance.restore(state);
                }
                at = from;
                continue;
            }
            Step::Restart => host.instance.restart(),
            Step::Flush => {
                let outcome = host.instance.flush_once(host.instance.watermark()).0;
                host.pending.take(&outcome, at);
            }
            Step::Commit => {
                host.flush(host.instance.watermark(), at);
                host.commit();
                host.instance.snapshot();
                saved = host.instance.saved().map(<[u8]>::to_vec);
                assert_eq!(host.instance.snapshot(), None, "nothing has changed");
                from = at;
            }
            _ => {}
        }
        let mut end = at + 1;
        while end < rows.len() && matches!(steps.get(end), None | Some(Step::Go)) {
            end += 1;
        }
        let outcome = host.instance.process(rows[at..end].iter().map(Row::input));
        host.pending.take(&outcome, at);
        at = end;
    }
    host.flush(Some(Timestamp(i64::MAX)), at);
    host.commit();
    host.committed.table()
}

struct Host<A: Aggregation> {
    instance: Tested<Windowed<A>>,
    pending: Given,
    committed: Given,
}

impl<A: Aggregation> Host<A> {
    fn flush(&mut self, watermark: Option<Timestamp>, at: usize) {
        for outcome in self.instance.flush(watermark) {
            self.pending.take(&outcome, at);
        }
    }

    fn commit(&mut self) {
        let Given { rows, late, additive } = std::mem::take(&mut self.pending);
        self.committed.rows.extend(rows);
        self.committed.late.extend(late);
        self.committed.additive = additive;
    }
}

/// What was handed out.
#[derive(Debug, Default)]
struct Given {
    rows: Vec<Vec<Value>>,
    late: Vec<usize>,
    additive: bool,
}

const COLUMNS: [&str; 11] =
    ["start", "stop", "name", "rows", "users", "amount", "least", "most", "first", "last", "top"];

impl Given {
    fn take(&mut self, outcome: &Outcome, from: usize) {
        let rows = outcome.rows("table");
        self.additive = rows.is_additive();
        let columns = if self.additive { &COLUMNS[..8] } else { &COLUMNS };
        let columns: Vec<Vec<Value>> = columns.iter().map(|column| rows.column(column)).collect();
        self.rows
            .extend((0..rows.len()).map(|row| columns.iter().map(|column| column[row].clone()).collect()));
        for (reason, rows) in outcome.rejected() {
            assert_eq!(reason, "late");
            self.late.extend(rows.into_iter().map(|row| from + row as usize));
        }
    }

    fn table(self) -> Table {
        let text = |values: &[Value]| values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
        let mut rows: Vec<String> = if self.additive {
            let mut merged = BTreeMap::<String, Vec<Value>>::new();
            for row in self.rows {
                let (key, values) = row.split_at(3);
                match merged.get_mut(&text(key)) {
                    Some(have) => merge(have, values),
                    None => drop(merged.insert(text(key), values.to_vec())),
                }
            }
            merged.into_iter().map(|(key, values)| format!("{key}, {}", text(&values))).collect()
        } else {
            self.rows.iter().map(|row| text(row)).collect()
        };
        rows.sort();
        let mut late = self.late;
        late.sort_unstable();
        Table { rows, late }
    }
}

/// As a reader of the table: rows, users and amount are sums, then least and most.
fn merge(have: &mut [Value], more: &[Value]) {
    for (i, (have, more)) in have.iter_mut().zip(more).enumerate() {
        *have = match (&*have, more) {
            (Value::Int(a), Value::Int(b)) => Value::Int(match i {
                3 => *a.min(b),
                4 => *a.max(b),
                _ => a + b,
            }),
            (Value::Null, other) | (other, _) => other.clone(),
        };
    }
}
