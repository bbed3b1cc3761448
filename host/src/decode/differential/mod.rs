//! The fast paths against serde_json: the same rows, the same nulls, the same rejects with the same reasons, for events
//! of any shape, damaged or not.

mod events;
mod random;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, BinaryArray};
use arrow::datatypes::{DataType, TimeUnit};

use super::Decoder;
use super::fast::Path;
use crate::batch::{Batch, Delivered, FieldSpec};
use crate::table::no_headers;
use events::Stream;
use random::Random;

/// Small, so that some events are larger.
const MAX_SIZE: usize = 1500;

/// Fields that somebody could declare: all types, all kinds of names.
fn declarable() -> Vec<FieldSpec> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields = [
        ("user_id", DataType::Utf8),
        ("event_type", DataType::Utf8),
        ("timestamp", time),
        ("count", DataType::Int64),
        ("price", DataType::Float64),
        ("paid", DataType::Boolean),
        ("day", DataType::Date32),
        ("amount", DataType::Decimal128(10, 2)),
        ("bytes", DataType::Binary),
        // One member in two types.
        ("/count", DataType::Float64),
        ("/context/ip", DataType::Utf8),
        ("/context/geo/lat", DataType::Float64),
        ("context", DataType::Utf8),
        ("/tags/1", DataType::Utf8),
        ("/a~1b/c~0d", DataType::Int64),
        ("", DataType::Utf8),
        ("größe", DataType::Int64),
        ("quo\"te", DataType::Utf8),
        ("a_name_that_is_longer_than_a_block_of_bytes", DataType::Utf8),
        // The hash of the first bytes and the length is the same.
        ("timestamp_of_a", DataType::Utf8),
        ("timestamp_of_b", DataType::Utf8),
    ];
    fields.map(|(path, data_type)| FieldSpec { path: path.into(), data_type }).into()
}

/// What was compared.
#[derive(Default)]
struct Seen {
    rows: u64,
    refused: BTreeMap<String, u64>,
    /// Events that were read by each path.
    paths: BTreeMap<Path, u64>,
}

/// Decodes some batches that a seed gives, twice.
fn compare(seed: u64, seen: &mut Seen) {
    let mut random = Random(seed);
    let mut fields = declarable();
    random.shuffle(&mut fields);
    fields.truncate(random.below(10));
    let mut stream = Stream::new(&mut random);
    let (mut fast, mut plain) = (Decoder::new(&fields, MAX_SIZE), Decoder::reference(&fields, MAX_SIZE));
    for _ in 0..=random.below(3) {
        let rows = if random.one_in(8) { random.below(200) } else { random.below(20) };
        let values: Vec<Option<Vec<u8>>> = (0..rows).map(|_| stream.next(&mut random)).collect();
        let delivered = delivered(&values, random.below(3));
        let (got, expected) = (fast.decode(delivered.clone()), plain.decode(delivered));
        agree(&got, &expected, &fields, seed);
        seen.rows += got.delivered.len() as u64;
        for reject in &got.rejects {
            *seen.refused.entry(reject.reason.to_string()).or_default() += 1;
        }
    }
    for (path, events) in &fast.fast.expect("all of the fields can be read fast").paths {
        *seen.paths.entry(*path).or_default() += events;
    }
}

fn agree(got: &Batch, expected: &Batch, fields: &[FieldSpec], seed: u64) {
    let rejects = |batch: &Batch| -> Vec<(u32, String)> {
        batch.rejects.iter().map(|r| (r.row, r.reason.to_string())).collect()
    };
    let (got_rejects, expected_rejects) = (rejects(got), rejects(expected));
    let shown = |row: usize| String::from_utf8_lossy(got.delivered.value.value(row)).into_owned();
    if let Some((g, e)) = got_rejects.iter().zip(&expected_rejects).find(|(g, e)| g != e) {
        let row = g.0.min(e.0) as usize;
        panic!("seed {seed}, row {row}: {g:?}, but {e:?}\n{}\n{fields:?}", shown(row));
    }
    assert_eq!(got_rejects, expected_rejects, "seed {seed}");
    assert_eq!(got.rows, expected.rows, "seed {seed}");
    for (column, field) in fields.iter().enumerate() {
        let (got_column, expected_column) = (&got.columns[column], &expected.columns[column]);
        if got_column == expected_column {
            continue;
        }
        for (row, event) in got.rows.iter().enumerate() {
            let (got, expected) = (got_column.slice(row, 1), expected_column.slice(row, 1));
            assert!(
                *got == *expected,
                "seed {seed}, {field:?}: {got:?}, but {expected:?}\n{}",
                shown(*event as usize)
            );
        }
        panic!("seed {seed}, {field:?}: the columns differ, and their rows do not");
    }
}

/// A batch of these values, as a part of a longer array.
fn delivered(values: &[Option<Vec<u8>>], before: usize) -> Arc<Delivered> {
    let around = Some(b"{\"\xc3".as_slice());
    let all = std::iter::repeat_n(around, before).chain(values.iter().map(Option::as_deref));
    let array: BinaryArray = all.chain(std::iter::repeat_n(around, before)).collect();
    let rows = values.len();
    Arc::new(Delivered {
        topic: "t".into(),
        partition: 0,
        from: 0,
        to: i64::try_from(rows).unwrap(),
        offset: (0..).take(rows).collect(),
        timestamp: vec![0; rows].into(),
        key: BinaryArray::from_opt_vec(vec![None; rows]),
        value: array.slice(before, rows),
        headers: no_headers(rows),
    })
}

fn report(seen: &Seen) {
    let refused: u64 = seen.refused.values().sum();
    println!(
        "{} events: {} became rows, {refused} were refused, for {} reasons; {:?}",
        seen.rows,
        seen.rows - refused,
        seen.refused.len(),
        seen.paths
    );
    // Each path has its share, or little was tested.
    for path in [Path::Template, Path::Any, Path::Serde] {
        let share = seen.paths.get(&path).copied().unwrap_or_default() as f64 / seen.rows as f64;
        assert!(share > 0.1, "{path:?} has read {share} of the events");
    }
    for reason in
        ["not UTF-8", "byte order mark", "nested deeper", "there twice", "ends too early", "larger than"]
    {
        assert!(seen.refused.keys().any(|r| r.contains(reason)), "none was refused because of: {reason}");
    }
}

#[test]
fn the_fast_paths_agree_with_serde_json() {
    let mut seen = Seen::default();
    let mut runner = proptest::test_runner::TestRunner::new(proptest::test_runner::Config {
        cases: 20_000,
        failure_persistence: None,
        ..Default::default()
    });
    let seen_by = std::cell::RefCell::new(&mut seen);
    let done = runner.run(&proptest::num::u64::ANY, |seed| {
        compare(seed, &mut seen_by.borrow_mut());
        Ok(())
    });
    done.unwrap();
    report(&seen);
}

/// The long form: `TIDEMILL_DECODE_ROWS=10000000 cargo test --release -p tidemill --lib decode -- --nocapture`.
#[test]
fn they_agree_for_as_long_as_wanted() {
    let Ok(rows) = std::env::var("TIDEMILL_DECODE_ROWS") else { return };
    let rows: u64 = rows.parse().expect("TIDEMILL_DECODE_ROWS is a number of events");
    let (mut seen, began) = (Seen::default(), std::time::Instant::now());
    let mut seed = 0;
    while seen.rows < rows {
        compare(seed, &mut seen);
        seed += 1;
    }
    println!("{seed} seeds in {:?}", began.elapsed());
    report(&seen);
}
