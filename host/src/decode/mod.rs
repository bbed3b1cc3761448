//! Bytes to columns: JSON values become the fields that transforms declared, and nothing else is
//! materialized.
//!
//! An event is read by the first of three ways that can: a learned template, members in any order, serde_json. The
//! first two only take what is simple, and refuse nothing.
//!
//! An event that cannot be decoded becomes a reject with its reason; it never spoils its batch.
//! Everything is bounded: the size of a value, the depth of its nesting, the rows of a batch.

mod any;
mod block;
mod column;
mod convert;
#[cfg(test)]
mod differential;
mod fast;
mod json;
mod plan;
mod scan;
mod template;
mod values;

use std::collections::HashMap;
use std::sync::Arc;

use crate::batch::{Batch, Delivered, FieldSpec, Reject, Stage};
use column::Builder;
use fast::Fast;
use values::Values;

/// Makes batches of one topic. One per lane.
pub struct Decoder {
    reader: json::Reader,
    fast: Option<Fast>,
    builders: Vec<Builder>,
    max_size: usize,
    reasons: HashMap<String, Arc<str>>,
}

/// Different reasons that are kept for reuse; beyond, each reject has its own copy.
const REASONS: usize = 1000;

impl Decoder {
    /// A decoder of these fields. Values larger than `max_size` bytes are rejected.
    pub fn new(fields: &[FieldSpec], max_size: usize) -> Self {
        Decoder {
            reader: json::Reader::new(fields),
            fast: Fast::new(fields),
            builders: fields.iter().map(|f| Builder::new(&f.data_type)).collect(),
            max_size,
            reasons: HashMap::new(),
        }
    }

    /// A decoder that reads everything with serde_json: slower, with the same results.
    pub fn reference(fields: &[FieldSpec], max_size: usize) -> Self {
        Decoder { fast: None, ..Decoder::new(fields, max_size) }
    }

    /// Decodes what Kafka delivered.
    pub fn decode(&mut self, delivered: Arc<Delivered>) -> Batch {
        let mut rows = Vec::with_capacity(delivered.len());
        let mut rejects = Vec::new();
        let mut values = Values::new(&delivered.value);
        for (row, at) in (0..delivered.len()).zip(0u32..) {
            match self.row(&mut values, row, rows.len()) {
                Ok(()) => rows.push(at),
                Err(reason) => {
                    self.builders.iter_mut().for_each(|b| b.truncate(rows.len()));
                    let reason = self.reason(reason);
                    rejects.push(Reject { row: at, stage: Stage::Decode, transform: None, reason });
                }
            }
        }
        let columns = self.builders.iter_mut().map(Builder::finish).collect();
        Batch { delivered, rows, columns, rejects }
    }

    #[inline(always)]
    fn row(&mut self, values: &mut Values<'_>, row: usize, rows: usize) -> Result<(), String> {
        let (at, end) = values.place(row).ok_or("the value is null (a tombstone)")?;
        if at == end {
            return Err("the value is empty".into());
        }
        if end - at > self.max_size {
            return Err(format!("the value is larger than {} bytes (max-event-size)", self.max_size));
        }
        let text = values.text(row, at, end).ok_or("the value is not UTF-8")?;
        if let Some(fast) = &mut self.fast {
            if fast.read(values.bytes, at, end, &mut self.builders) {
                return Ok(());
            }
            self.builders.iter_mut().for_each(|b| b.truncate(rows));
        }
        self.reader.read(text, &mut self.builders)
    }

    fn reason(&mut self, reason: String) -> Arc<str> {
        if let Some(known) = self.reasons.get(&reason) {
            return known.clone();
        }
        let shared: Arc<str> = reason.as_str().into();
        if self.reasons.len() < REASONS {
            self.reasons.insert(reason, shared.clone());
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, BinaryArray};
    use arrow::datatypes::{DataType, Float64Type, Int64Type};

    use super::*;
    use crate::table::no_headers;

    fn decode(fields: &[(&str, DataType)], values: &[Option<&[u8]>]) -> Batch {
        let fields: Vec<FieldSpec> =
            fields.iter().map(|(p, t)| FieldSpec { path: (*p).into(), data_type: t.clone() }).collect();
        let delivered = Delivered {
            topic: "t".into(),
            partition: 0,
            from: 0,
            to: i64::try_from(values.len()).unwrap(),
            offset: (0..).take(values.len()).collect(),
            timestamp: vec![0; values.len()].into(),
            key: BinaryArray::from_opt_vec(vec![None; values.len()]),
            value: BinaryArray::from_opt_vec(values.to_vec()),
            headers: no_headers(values.len()),
        };
        Decoder::new(&fields, 1 << 20).decode(Arc::new(delivered))
    }

    fn reasons(fields: &[(&str, DataType)], values: &[&[u8]]) -> Vec<String> {
        let values: Vec<Option<&[u8]>> = values.iter().map(|v| Some(*v)).collect();
        let batch = decode(fields, &values);
        assert_eq!(batch.rejects.len(), values.len(), "rows {:?}", batch.rows);
        batch.rejects.iter().map(|r| r.reason.to_string()).collect()
    }

    const TEXT: (&str, DataType) = ("a", DataType::Utf8);

    #[test]
    fn declared_fields_become_columns() {
        let fields = [TEXT, ("n", DataType::Int64), ("f", DataType::Float64), ("/o/p", DataType::Utf8)];
        let batch = decode(
            &fields,
            &[
                Some(br#"{"a":"x\u00e9\n","n":9007199254740993,"f":1,"skip":[1,{"a":2}],"o":{"p":"in"}}"#),
                Some(br#"{"a":null,"f":2.5e-1}"#),
            ],
        );
        assert_eq!(batch.rows, [0, 1]);
        assert_eq!(batch.columns[0].as_string::<i32>().value(0), "xé\n");
        assert!(batch.columns[0].is_null(1));
        assert_eq!(batch.columns[1].as_primitive::<Int64Type>().value(0), 9_007_199_254_740_993);
        assert_eq!(batch.columns[2].as_primitive::<Float64Type>().value(1), 0.25);
        assert_eq!(batch.columns[3].as_string::<i32>().value(0), "in");
    }

    #[test]
    fn a_bad_event_is_rejected_alone() {
        let batch =
            decode(&[TEXT], &[Some(br#"{"a":"1"}"#), Some(br#"{"a":"2""#), None, Some(br#"{"a":"3"}"#)]);
        assert_eq!(batch.rows, [0, 3]);
        assert_eq!(batch.columns[0].as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(batch.rejects.iter().map(|r| r.row).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn every_kind_of_bad_input_has_its_reason() {
        let deep = [b"{\"z\":".as_slice(), &b"[".repeat(10_000), &b"]".repeat(10_000), b"}"].concat();
        let huge = [b"{\"a\":\"".as_slice(), &b"x".repeat(5_000_000), b"\"}"].concat();
        let cases: [(&[u8], &str); 14] = [
            (b"", "empty"),
            (b"{\"a\":\"\xff\"}", "not UTF-8"),
            (b"\xef\xbb\xbf{}", "byte order mark"),
            (b"{\"a\":1}", "a: expected a string"),
            (b"{\"a\":{\"b\":1}}", "a: expected a string"),
            (b"{\"a\":\"1\",\"a\":\"2\"}", "a: it is there twice"),
            (b"{\"a\":\"1\"} x", "not valid JSON"),
            (b"[]", "not a JSON object"),
            (b"3", "not a JSON object"),
            (b"{\"a\":\"\\ud800\"}", "not valid JSON"),
            (b"{'a':1}", "not valid JSON"),
            (b"{\"a\":\"\x01\"}", "not valid JSON"),
            (&deep, "nested deeper"),
            (&huge, "larger than"),
        ];
        for (value, expected) in cases {
            let reason = &reasons(&[TEXT], &[value])[0];
            assert!(reason.contains(expected), "{:?}: {reason}", &value[..value.len().min(30)]);
            assert!(reason.len() <= 200);
        }
    }

    #[test]
    fn numbers_are_exact_or_rejected() {
        let reason = |value: &str, t: DataType| reasons(&[("n", t)], &[value.as_bytes()])[0].clone();
        assert!(reason(r#"{"n":1.5}"#, DataType::Int64).contains("expected an integer"));
        assert!(reason(r#"{"n":9223372036854775808}"#, DataType::Int64).contains("integer"));
        assert!(reason(r#"{"n":"1"}"#, DataType::Int64).contains("integer"));
        assert!(reason(r#"{"n":1e999}"#, DataType::Float64).contains("number"));
        assert!(reason(r#"{"n":1}"#, DataType::Boolean).contains("true or false"));
    }

    /// A second telling: serde_json into a struct of the declared fields.
    fn oracle(value: &[u8]) -> Option<Vec<serde_json::Value>> {
        #[derive(serde::Deserialize)]
        struct Row {
            a: Option<String>,
            n: Option<i64>,
            b: Option<bool>,
        }
        let row: Row = serde_json::from_str(std::str::from_utf8(value).ok()?).ok()?;
        Some(vec![row.a.into(), row.n.into(), row.b.into()])
    }

    fn cell(column: &dyn Array) -> serde_json::Value {
        if column.is_null(0) {
            return serde_json::Value::Null;
        }
        match column.data_type() {
            DataType::Utf8 => column.as_string::<i32>().value(0).into(),
            DataType::Int64 => column.as_primitive::<Int64Type>().value(0).into(),
            _ => column.as_boolean().value(0).into(),
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(20_000))]
        /// A valid event with some bytes changed is taken or refused as serde_json would.
        #[test]
        fn it_agrees_with_serde_json(
            changes in proptest::collection::vec((0usize..80, proptest::sample::select(b"\"\\{}[]:,0-9.eEntu a\xc3\x00".to_vec())), 0..4),
            shape in 0usize..3,
        ) {
            let shapes: [&[u8]; 3] = [
                br#"{"a":"x\u00e9y","n":-12,"b":true,"z":{"a":[1,"2",null,1.5e3]}}"#,
                br#" { "b" : null , "skip" : "a\"b" , "n" : 0 , "a" : "long enough to be changed" } "#,
                br#"{"n":9223372036854775807,"a":"\ud83d\ude00","q":[[],{}],"b":false}"#,
            ];
            let mut value = shapes[shape].to_vec();
            for (at, byte) in changes {
                let at = at % value.len();
                value[at] = byte;
            }
            let fields = [TEXT, ("n", DataType::Int64), ("b", DataType::Boolean)];
            let batch = decode(&fields, &[Some(&value)]);
            let got = batch.rejects.is_empty().then(|| batch.columns.iter().map(|c| cell(c)).collect::<Vec<_>>());
            proptest::prop_assert_eq!(got, oracle(&value), "{}", String::from_utf8_lossy(&value));
        }
    }
}
