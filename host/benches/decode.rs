//! What decoding costs an event: `cargo bench -p tidemill --bench decode`.
//!
//! Batches of 8,192 generated events become columns, by the decoder and by serde_json alone, in turns. Times are of this
//! thread's processor, columns made and dropped included; each figure is the median of many batches.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, BinaryArray, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use tidemill::batch::{Delivered, FieldSpec};
use tidemill::decode::Decoder;
use tidemill::source::generate::Generator;
use tidemill::table;

const BATCH: usize = 8192;
/// Batches of a shape.
const BATCHES: usize = 4;
/// Times that each of them is decoded, after once to warm up.
const ROUNDS: usize = 60;
const BEGIN: i64 = 1_764_669_600_000_000;

static TEXTS: [(&str, DataType); 7] = [
    ("user_id", DataType::Utf8),
    ("event_type", DataType::Utf8),
    ("timestamp", DataType::Utf8),
    ("page", DataType::Utf8),
    ("session_id", DataType::Utf8),
    ("device", DataType::Utf8),
    ("location", DataType::Utf8),
];
static NUMBERS: [(&str, DataType); 7] = [
    ("user_id", DataType::Utf8),
    ("event_type", DataType::Utf8),
    ("timestamp", DataType::Utf8),
    ("count", DataType::Int64),
    ("price", DataType::Float64),
    ("total", DataType::Int64),
    ("session_id", DataType::Utf8),
];
static TYPED: [(&str, DataType); 7] = [
    ("user_id", DataType::Utf8),
    ("event_type", DataType::Utf8),
    ("count", DataType::Int64),
    ("price", DataType::Float64),
    ("paid", DataType::Boolean),
    ("total", DataType::Int64),
    ("location", DataType::Utf8),
];

fn main() {
    println!(
        "{:40} {:>6} {:>9} {:>9} {:>10} {:>7}",
        "ns an event", "bytes", "decoder", "quickest", "serde_json", "refused"
    );
    let mut events = Events { generator: Generator::new(7, 0.0), key: String::new(), random: 7 };
    let shapes: [(&str, Fields, Event<'_>); 9] = [
        ("reference", &TEXTS, &|e| e.reference()),
        ("shuffled, with numbers", &NUMBERS, &|e| {
            let members = e.numbers();
            e.shuffled(members)
        }),
        ("typed: numbers, nulls, booleans", &TYPED, &|e| object(&e.typed())),
        ("typed, shuffled", &TYPED, &|e| {
            let members = e.typed();
            e.shuffled(members)
        }),
        ("escaped", &TEXTS, &|e| {
            e.reference().replace("/page/", "\\/p\\u00e4ge\\n").replace("mobile", "\\ud83d\\udcf1")
        }),
        ("not ASCII", &TEXTS, &|e| e.reference().replace("/page/", "/päge/")),
        ("one field of seven declared", &TEXTS[2..3], &|e| e.reference()),
        ("nested, undeclared members", &TEXTS, &|e| {
            let event = e.reference();
            format!("{{\"context\":{{\"ip\":\"10.0.0.1\",\"tags\":[1,2.5,true,null]}},{}", &event[1..])
        }),
        ("invalid (cut in the middle)", &TEXTS, &|e| {
            let event = e.reference();
            event[..20 + e.below(event.len() as u64 - 21)].into()
        }),
    ];
    for (name, fields, event) in shapes {
        let batches: Vec<Arc<Delivered>> =
            (0..BATCHES).map(|_| delivered((0..BATCH).map(|_| event(&mut events)))).collect();
        measure(name, fields, &batches);
    }
}

type Fields = &'static [(&'static str, DataType)];
/// Makes an event of a shape.
type Event<'a> = &'a dyn Fn(&mut Events) -> String;

struct Events {
    generator: Generator,
    key: String,
    random: u64,
}

impl Events {
    fn reference(&mut self) -> String {
        let mut value = String::new();
        let time = BEGIN + i64::try_from(self.below(1_000_000_000)).unwrap();
        self.generator.next(time, &mut self.key, &mut value);
        value
    }

    /// SplitMix64.
    fn below(&mut self, bound: u64) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound).unwrap()
    }

    /// Seven members, three of them numbers.
    fn numbers(&mut self) -> Vec<String> {
        let user = self.below(50_000);
        vec![
            format!("\"user_id\":\"user_{user}\""),
            format!("\"event_type\":\"{}\"", ["page_view", "click", "scroll", "search"][self.below(4)]),
            format!("\"timestamp\":\"2025-12-02T10:{:02}:00.123\"", self.below(60)),
            format!("\"count\":{}", self.below(1000)),
            format!("\"price\":{}.{:02}", self.below(1000), self.below(100)),
            format!("\"total\":{}", i64::try_from(self.below(1 << 40)).unwrap() - (1 << 39)),
            format!("\"session_id\":\"session_{}\"", user * 7),
        ]
    }

    /// Eight members; one is not declared, two are sometimes null.
    fn typed(&mut self) -> Vec<String> {
        let mut members = self.numbers();
        members.remove(2);
        members.push(format!("\"paid\":{}", ["true", "false", "null"][self.below(3)]));
        members.push(format!("\"location\":{}", ["\"US\"", "\"DE\"", "null"][self.below(3)]));
        members
    }

    fn shuffled(&mut self, mut members: Vec<String>) -> String {
        for at in (1..members.len()).rev() {
            members.swap(at, self.below(at as u64 + 1));
        }
        object(&members)
    }
}

fn object(members: &[String]) -> String {
    format!("{{{}}}", members.join(","))
}

fn measure(name: &str, fields: &[(&str, DataType)], batches: &[Arc<Delivered>]) {
    let fields: Vec<FieldSpec> =
        fields.iter().map(|(p, t)| FieldSpec { path: (*p).into(), data_type: t.clone() }).collect();
    let mut decoders = [Decoder::new(&fields, 1 << 20), Decoder::reference(&fields, 1 << 20)];
    let (mut times, mut refused) = ([Vec::new(), Vec::new()], 0);
    for round in 0..=ROUNDS {
        for batch in batches {
            for (at, decoder) in decoders.iter_mut().enumerate() {
                let began = busy();
                let decoded = decoder.decode(batch.clone());
                let rejects = decoded.rejects.len();
                drop(decoded);
                let took = busy() - began;
                if round > 0 {
                    times[at].push(took.as_nanos() as f64 / BATCH as f64);
                    refused += rejects * (1 - at);
                }
            }
        }
    }
    times.iter_mut().for_each(|t| t.sort_by(f64::total_cmp));
    let median = |at: usize| times[at][times[at].len() / 2];
    let bytes: usize = batches.iter().map(|b| b.value.value_data().len()).sum();
    println!(
        "{name:40} {:6} {:9.1} {:9.1} {:10.1} {:6.1}%",
        bytes / BATCH / batches.len(),
        median(0),
        times[0][0],
        median(1),
        100.0 * refused as f64 / (ROUNDS * batches.len() * BATCH) as f64
    );
}

fn busy() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

fn delivered(values: impl Iterator<Item = String>) -> Arc<Delivered> {
    let value = BinaryArray::from_iter_values(values);
    let rows = value.len();
    let to = i64::try_from(rows).unwrap();
    Arc::new(Delivered {
        topic: "user-events".into(),
        partition: 0,
        from: 0,
        to,
        offset: (0..to).collect::<Int64Array>(),
        timestamp: TimestampMicrosecondArray::from(vec![BEGIN; rows]).with_timezone("UTC"),
        key: BinaryArray::from_opt_vec(vec![None; rows]),
        value,
        headers: table::no_headers(rows),
    })
}
