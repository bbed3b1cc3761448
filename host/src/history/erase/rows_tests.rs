use std::sync::Arc;

use arrow::array::{
    BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::env::machine;
use crate::table::{self, timestamp_type};

fn subject(field: &str, value: &str, keys: bool) -> Subject {
    Subject::new(field, value, None, keys, &machine()).unwrap()
}

/// Values of events, their keys, and offsets from 0 on in partition 3.
fn raw(events: &[(Option<&str>, Option<&str>)]) -> RecordBatch {
    let count = i64::try_from(events.len()).unwrap();
    let schema = Schema::new(vec![
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
    ]);
    let bytes = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values((0..count).map(|_| 3))),
        Arc::new(Int64Array::from_iter_values(0..count)),
        Arc::new(BinaryArray::from_iter(events.iter().map(|(key, _)| bytes(*key)))),
        Arc::new(BinaryArray::from_iter(events.iter().map(|(_, value)| bytes(*value)))),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn made(columns: Vec<(&str, ArrayRef)>) -> (Table, RecordBatch) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let (name, schema) = ("made".to_owned(), batch.schema());
    (Table { name, zone: Zone::Processed, schema, event_time: 0, sorted: true }, batch)
}

fn events(some: &[Event]) -> Arc<Events> {
    let mut events = Events::default();
    events.add(some, 100).unwrap();
    Arc::new(events.sorted())
}

fn going(matcher: &Matcher, batch: &RecordBatch) -> (Vec<usize>, Seen) {
    let mut seen = Seen::default();
    let goes = matcher.rows(batch, &mut seen).unwrap();
    ((0..batch.num_rows()).filter(|row| goes.value(*row)).collect(), seen)
}

#[test]
fn events_name_a_subject_by_what_they_say_and_by_their_keys() {
    let batch = raw(&[
        (Some("ada"), Some(r#"{"user_id":"bob"}"#)),
        (None, Some(r#"{"user_id":"ada"}"#)),
        (Some("ada"), None),
        (Some("bob"), Some("no json: ada")),
        (Some("adam"), Some(r#"{"user_id":"adam"}"#)),
    ]);
    for (keys, wanted) in [(false, vec![1]), (true, vec![0, 1, 2])] {
        let matcher = Matcher::raw(&subject("user_id", "ada", keys), &table::raw("t"));
        let (found, seen) = going(&matcher, &batch);
        assert_eq!((found, seen.rows, seen.unreadable), (wanted.clone(), wanted.len() as u64, 1));
        let mut goes = Seen::default();
        let rows = matcher.rows(&batch, &mut goes).unwrap();
        let wanted: Vec<Event> = wanted.iter().map(|row| (3, i64::try_from(*row).unwrap())).collect();
        assert_eq!(matcher.found(&batch, &rows), wanted);
        assert_eq!(matcher.columns().contains(&"key"), keys);
    }
}

#[test]
fn raw_goes_only_where_the_tables_were_looked_at() {
    let batch = raw(&[
        (None, Some(r#"{"user_id":"ada"}"#)),
        (None, Some(r#"{"user_id":"bob"}"#)),
        (None, Some(r#"{"user_id":"ada"}"#)),
    ]);
    // The last one came later; of a topic that was created anew, another event has the offset 1.
    let known = events(&[(3, 0), (3, 1)]);
    let matcher =
        Matcher::of(&subject("user_id", "ada", false), &table::raw("t"), Some(&known)).unwrap().unwrap();
    let (found, seen) = going(&matcher, &batch);
    assert_eq!((found, seen.late), (vec![0], 1));
    let rejected =
        Matcher::of(&subject("user_id", "ada", false), &table::rejected(), Some(&known)).unwrap().unwrap();
    assert_eq!(going(&rejected, &batch).0, [0, 1, 2], "what is rejected goes with its event, too");
    let rejected = Matcher::of(&subject("user_id", "ada", false), &table::rejected(), None).unwrap().unwrap();
    assert_eq!(going(&rejected, &batch).0, [0, 2]);
}

#[test]
fn a_column_is_compared_by_what_it_holds() {
    let column = |array: ArrayRef| made(vec![("user_id", array)]);
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("7"), None, Some("7.0"), Some(" 7")]));
    let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None, Some(70)]));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(7.0), None, Some(7.5)]));
    let decimals: ArrayRef = Arc::new(
        Decimal128Array::from(vec![Some(700), None, Some(750), Some(7)])
            .with_precision_and_scale(10, 2)
            .unwrap(),
    );
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
    let bytes: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(b"7"), None, Some(b"7\0")]));
    for (array, value, wanted) in [
        (&text, "7", vec![0]),
        (&text, "7.0", vec![2]),
        (&ints, "7", vec![0]),
        (&ints, "+7", vec![]),
        (&ints, "seven", vec![]),
        (&floats, "7", vec![0]),
        (&floats, "7.50", vec![2]),
        (&floats, "NaN", vec![]),
        (&decimals, "7", vec![0]),
        (&decimals, "7.5", vec![2]),
        (&decimals, "0.07", vec![3]),
        (&decimals, "7.001", vec![]),
        (&flags, "true", vec![0]),
        (&flags, "false", vec![2]),
        (&bytes, "7", vec![0]),
    ] {
        let (table, batch) = column(array.clone());
        let matcher = Matcher::of(&subject("user_id", value, false), &table, None).unwrap().unwrap();
        assert_eq!(going(&matcher, &batch).0, wanted, "{value} in {:?}", array.data_type());
    }
}

#[test]
fn rows_without_the_column_go_with_their_events() {
    let parts = |name| {
        let users: ArrayRef = Arc::new(StringArray::from(vec![Some("ada"), Some("bob"), None, Some("ada")]));
        let partitions: ArrayRef = Arc::new(Int32Array::from(vec![0, 0, 0, 1]));
        let offsets: ArrayRef = Arc::new(Int64Array::from(vec![5, 6, 7, 6]));
        made(vec![(name, users), ("kafka_partition", partitions), ("kafka_offset", offsets)])
    };
    let (known, ada) = (events(&[(0, 6), (0, 7)]), subject("user_id", "ada", false));
    let of = |name, known: Option<&Arc<Events>>| {
        let (table, batch) = parts(name);
        Matcher::of(&ada, &table, known).map(|matcher| going(&matcher.unwrap(), &batch))
    };
    let (found, seen) = of("page", Some(&known)).unwrap();
    assert_eq!((found, seen.alone), (vec![1, 2], 0));
    let (found, seen) = of("user_id", Some(&known)).unwrap();
    assert_eq!((found, seen.alone), (vec![0, 1, 2, 3], 2), "two rows whose events are not known");
    assert_eq!(of("user_id", None).unwrap().0, [0, 3]);
    assert!(of("page", None).unwrap_err().contains("events of several topics"));
    // Rows of nobody, and a column that no text is compared with.
    let (table, _) = made(vec![("events", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
    assert!(Matcher::of(&ada, &table, Some(&known)).unwrap().is_none());
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1]).with_timezone("UTC"));
    assert_eq!(*times.data_type(), timestamp_type());
    let (table, _) = made(vec![("user_id", times)]);
    assert!(Matcher::of(&ada, &table, Some(&known)).err().unwrap().contains("column `user_id` is Timestamp"));
}

#[test]
fn a_row_group_that_cannot_have_such_rows_is_spared() {
    let users: ArrayRef = Arc::new(StringArray::from(vec!["bob", "dora"]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![10, 20]));
    let partitions: ArrayRef = Arc::new(Int32Array::from(vec![0, 0]));
    let offsets: ArrayRef = Arc::new(Int64Array::from(vec![100, 200]));
    let (table, batch) = made(vec![
        ("user_id", users),
        ("number", numbers),
        ("kafka_partition", partitions),
        ("kafka_offset", offsets),
    ]);
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, table.schema.clone(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let read = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file)).unwrap();
    let group = read.metadata().row_group(0);
    let may = |field: &str, value: &str, known: &[Event]| {
        let matcher = Matcher::of(&subject(field, value, false), &table, Some(&events(known)));
        matcher.unwrap().unwrap().may(group)
    };
    for (field, value, known, wanted) in [
        ("user_id", "ada", &[][..], false),
        ("user_id", "carl", &[], true),
        ("user_id", "eve", &[], false),
        ("user_id", "eve", &[(1, 150)], true),
        ("number", "9", &[], false),
        ("number", "10", &[], true),
        ("number", "ada", &[], false),
        ("page", "ada", &[(0, 99), (0, 201)], false),
        ("page", "ada", &[(0, 99), (0, 200)], true),
    ] {
        assert_eq!(may(field, value, known), wanted, "{field}={value}, {known:?}");
    }
    // What events say stands in no statistics.
    assert!(Matcher::raw(&subject("user_id", "ada", false), &table).may(group));
}
