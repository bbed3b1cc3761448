//! What `input!` and `output!` make: descriptions, rows of every type, several outputs.

use std::time::Duration;

use tidemill_sdk::testing::{Value, open, row};
use tidemill_sdk::wire::{Content, DataType, DecimalType, Merge, Metadata, Origin, Source};
use tidemill_sdk::{
    Bool, Bytes, Config, Date, Decimal, Float, Int, Reject, Result, Text, Timestamp, Transform,
};

/// Every type, required and not.
mod every_type {
    use super::*;

    tidemill_sdk::input! {
        pub(crate) struct In from topic "orders" {
            flag: Bool, count: Int, share: Float, day: Date, at: Timestamp, price: Decimal<9, 2>, name: Text, raw: Bytes,
            flag_n: Option<Bool>, count_n: Option<Int>, share_n: Option<Float>, day_n: Option<Date>,
            at_n: Option<Timestamp>, price_n: Option<Decimal<9, 2>>, name_n: Option<Text> [dictionary],
            raw_n: Option<Bytes> [dictionary],
        }
    }

    tidemill_sdk::output! {
        pub(crate) table Out ("same", by at) of struct Same {
            flag: Bool, count: Int, share: Float, day: Date, at: Timestamp, price: Decimal<9, 2>, name: Text, raw: Bytes,
            flag_n: Option<Bool>, count_n: Option<Int>, share_n: Option<Float>, day_n: Option<Date>,
            at_n: Option<Timestamp>, price_n: Option<Decimal<9, 2>>, name_n: Option<Text>, raw_n: Option<Bytes>,
        }
    }

    pub(crate) struct Identity;

    impl Transform for Identity {
        const NAME: &str = "identity";
        const VERSION: &str = "1";
        type Row<'a> = In<'a>;
        type Out = Out;

        fn open(_: &mut Config) -> Result<Self> {
            Ok(Identity)
        }

        fn row(&mut self, row: In<'_>, out: &mut Out) -> Result<(), Reject> {
            let In {
                flag, count, share, day, at, price, flag_n, count_n, share_n, day_n, at_n, price_n, ..
            } = row;
            let (name, raw) = (row.name.into(), row.raw.into());
            let (name_n, raw_n) = (row.name_n.map(Into::into), row.raw_n.map(Into::into));
            out.emit(Same {
                flag,
                count,
                share,
                day,
                at,
                price,
                name,
                raw,
                flag_n,
                count_n,
                share_n,
                day_n,
                at_n,
                price_n,
                name_n,
                raw_n,
            });
            // Emitted, then refused: it is in no emission.
            if count < 0 { Err("count is negative".into()) } else { Ok(()) }
        }
    }

    tidemill_sdk::transform!(Identity);
}

#[test]
fn every_type_goes_in_and_out() {
    let full = || {
        row()
            .set("flag", true)
            .set("count", -7)
            .set("share", -0.5)
            .set("day", Date(-1))
            .set("at", Timestamp(-1))
            .set("price", Decimal::<9, 2>(-5))
            .set("name", "ä")
            .set("raw", vec![0, 255])
    };
    let rest = || {
        full()
            .set("count", 7)
            .set("flag_n", Some(false))
            .set("count_n", i64::MIN)
            .set("share_n", f64::MAX)
            .set("day_n", Date(0))
            .set("at_n", Timestamp(0))
            .set("price_n", Decimal::<9, 2>(1999))
            .set("name_n", "")
            .set("raw_n", "raw")
    };
    let required = ["flag", "count", "share", "day", "at", "price", "name", "raw"];
    let mut rows = vec![full().set("count", 1), rest(), full(), full().set("count", 2), rest(), rest()];
    rows.extend(required.map(|column| full().null(column)));
    rows.push(rest());
    let outcome = open::<every_type::Identity>(&[]).process(rows);

    let nulls = "true, 1, -0.5, 1969-12-31, 1969-12-31T23:59:59.999999Z, -0.05, ä, \\x00\\xff, null, null, null, null, null, null, null, null";
    let values = "true, 7, -0.5, 1969-12-31, 1969-12-31T23:59:59.999999Z, -0.05, ä, \\x00\\xff, false, -9223372036854775808, \
        1.7976931348623157e308, 1970-01-01, 1970-01-01T00:00:00Z, 19.99, , raw";
    let same = outcome.rows("same");
    assert_eq!(same.lines(), [nulls, values, &nulls.replace(", 1,", ", 2,"), values, values, values]);
    assert_eq!(same.origins(), Some(vec![0, 1, 3, 4, 5, 14]));
    assert_eq!(same.column("name_n")[..2], [Value::Null, "".into()]);
    let mut want = vec![("count is negative".to_owned(), vec![2])];
    want.extend(required.iter().zip(6..).map(|(column, row)| (format!("{column} is null"), vec![row])));
    assert_eq!(
        outcome.rejected().iter().map(|(r, rows)| (r.to_string(), rows.clone())).collect::<Vec<_>>(),
        want
    );
}

#[test]
fn a_batch_that_is_emitted_whole_needs_no_list_of_rows() {
    let full =
        row().set("flag", true).set("count", 1).set("share", 0.0).set("day", Date(0)).set("at", Timestamp(0));
    let full = full.set("price", Decimal::<9, 2>(0)).set("name", "").set("raw", "");
    let outcome = open::<every_type::Identity>(&[]).process([full.clone(), full]);
    assert_eq!(outcome.emissions()[0].rows, tidemill_sdk::wire::OutputRows::All);
    assert_eq!(outcome.rows("same").origins(), Some(vec![0, 1]));
}

/// Origins, merge rules, several outputs, fresh rows.
mod several_outputs {
    use super::*;

    tidemill_sdk::input! {
        pub(crate) struct In {
            r#type: Text,
            screen: Option<Text> = field("screenName"),
            city: Option<Text> = field("/geo/city") [dictionary],
            at: Timestamp = metadata(timestamp),
            offset: Int = metadata(offset),
            trace: Option<Bytes> = header("trace-id"),
        }
    }

    tidemill_sdk::output! {
        pub(crate) table Kept ("kept", by at) copied { at: Timestamp = metadata(timestamp), r#type: Text, trace: Option<Text> = header("trace-id") }
    }

    tidemill_sdk::output! {
        pub(crate) table Totals ("totals", by hour)
        of struct Total { hour: Timestamp [key], r#type: Text [key], events: Int [sum], first: Int [min], last: Int [max] }
    }

    tidemill_sdk::output! { pub(crate) feed Letters ("letters") of struct Letter { letter: Text } copied { at: Timestamp = metadata(timestamp) } }

    pub(crate) struct Several(Vec<(Timestamp, String, i64)>);

    impl Transform for Several {
        const NAME: &str = "several";
        const VERSION: &str = "1";
        const STATE_VERSION: Option<u32> = Some(3);
        type Row<'a> = In<'a>;
        type Out = (Kept, Totals, Letters);

        fn open(_: &mut Config) -> Result<Self> {
            Ok(Several(vec![]))
        }

        fn row(&mut self, row: In<'_>, (kept, _, letters): &mut Self::Out) -> Result<(), Reject> {
            for letter in row.r#type.chars() {
                letters.emit(Letter { letter: letter.to_string().into() });
            }
            match row.screen {
                Some("bad") => return Err("screen is bad".into()),
                Some(_) => kept.keep(),
                None => self.0.push((row.at.floor(Timestamp::HOUR), row.r#type.into(), row.offset)),
            }
            Ok(())
        }

        fn after_batch(&mut self, (_, totals, _): &mut Self::Out) -> Result<()> {
            if self.0.len() > 2 {
                self.emit(totals);
            }
            Ok(())
        }

        fn flush(&mut self, watermark: Option<Timestamp>, (kept, totals, _): &mut Self::Out) -> Result<bool> {
            self.emit(totals);
            if watermark == Some(Timestamp(13)) {
                kept.keep();
            }
            Ok(false)
        }
    }

    impl Several {
        fn emit(&mut self, totals: &mut Totals) {
            for (hour, r#type, offset) in self.0.drain(..) {
                totals.emit(Total { hour, r#type: r#type.into(), events: 1, first: offset, last: offset });
            }
        }
    }

    tidemill_sdk::transform!(Several);
}

#[test]
fn what_is_declared_is_described() {
    let descriptor = open::<every_type::Identity>(&[]).descriptor();
    assert_eq!(descriptor.input, Source::Topic(Some("orders".into())));
    assert_eq!(descriptor.reads[5].data_type, DataType::Decimal(DecimalType { precision: 9, scale: 2 }));

    let descriptor = open::<several_outputs::Several>(&[]).descriptor();
    assert_eq!(
        (&descriptor.name[..], &descriptor.version[..], descriptor.state_version),
        ("several", "1", Some(3))
    );
    assert_eq!(descriptor.input, Source::Topic(None));
    let reads: Vec<_> =
        descriptor.reads.iter().map(|read| (&read.name[..], read.origin.clone(), read.dictionary)).collect();
    assert_eq!(
        reads,
        [
            ("type", Origin::Field("type".into()), false),
            ("screen", Origin::Field("screenName".into()), false),
            ("city", Origin::Field("/geo/city".into()), true),
            ("at", Origin::Metadata(Metadata::Timestamp), false),
            ("offset", Origin::Metadata(Metadata::Offset), false),
            ("trace", Origin::Header("trace-id".into()), false),
        ]
    );
    let [kept, totals, letters] = &descriptor.outputs[..] else { panic!("three outputs") };
    assert_eq!((&kept.name[..], kept.event_time.as_deref()), ("kept", Some("at")));
    assert_eq!(kept.columns[2].content, Content::Copied(Origin::Header("trace-id".into())));
    assert!(kept.columns[2].nullable && !kept.columns[1].nullable);
    let merges: Vec<Merge> = totals.columns.iter().map(|column| column.merge).collect();
    assert_eq!(merges, [Merge::Key, Merge::Key, Merge::Sum, Merge::Min, Merge::Max]);
    assert_eq!(letters.event_time, None);
    assert_eq!(letters.columns[0].content, Content::Computed);
}

#[test]
fn rows_go_to_several_outputs_and_a_refused_one_to_none() {
    let event =
        |kind: &str, offset: i64| row().set("type", kind).set("at", Timestamp(0)).set("offset", offset);
    let mut several = open::<several_outputs::Several>(&[]);
    let outcome = several.process([
        event("ab", 1),
        event("xyz", 2).set("screen", "bad"),
        event("c", 3).set("screen", "home"),
        event("", 4),
    ]);
    assert_eq!(outcome.rows("letters").lines(), ["a", "b", "c"]);
    assert_eq!(outcome.rows("letters").origins(), Some(vec![0, 0, 2]));
    assert_eq!(outcome.rows("kept").origins(), Some(vec![2]));
    assert!(outcome.rows("totals").is_empty());
    assert_eq!(outcome.rejected(), [("screen is bad", vec![1])]);
    let outputs: Vec<u32> = outcome.emissions().iter().map(|emission| emission.output).collect();
    assert_eq!(outputs, [0, 2]);

    let outcome = several.process([event("d", 5)]);
    assert_eq!(outcome.rows("totals").column("last"), [1, 4, 5]);
    assert_eq!(outcome.rows("totals").origins(), None, "they stem from no single row");

    several.process([event("e", 6)]);
    let flushed = several.flush(Some(Timestamp(0)));
    assert_eq!(flushed[0].rows("totals").lines(), ["1970-01-01T00:00:00Z, e, 1, 6, 6"]);
}

#[test]
#[should_panic(expected = "kept has copied columns: emit its rows from `row`, not later")]
fn rows_with_copied_columns_cannot_be_flushed() {
    open::<several_outputs::Several>(&[]).flush(Some(Timestamp(13)));
}

#[test]
#[should_panic(expected = "there is no column typ to set; there are type, screen, city, at, offset, trace")]
fn a_test_that_sets_no_column_is_told_so() {
    open::<several_outputs::Several>(&[]).process([row().set("typ", "x")]);
}

/// Reads nothing, keeps all.
mod nothing_read {
    use super::*;

    tidemill_sdk::output! { pub(crate) table All ("all_events", by at) copied { at: Timestamp = metadata(timestamp) } }

    pub(crate) struct Keep;

    impl Transform for Keep {
        const NAME: &str = "keep";
        const VERSION: &str = "1";
        type Row<'a> = ();
        type Out = All;

        fn open(_: &mut Config) -> Result<Self> {
            Ok(Keep)
        }

        fn row(&mut self, (): (), out: &mut All) -> Result<(), Reject> {
            out.keep();
            Ok(())
        }
    }

    tidemill_sdk::transform!(Keep);
}

#[test]
fn a_transform_may_read_nothing_and_keep_no_state() {
    let mut keep = open::<nothing_read::Keep>(&[]);
    assert_eq!(keep.process([row(), row()]).rows("all_events").origins(), Some(vec![0, 1]));
    assert_eq!(keep.snapshot(), None);
    assert_eq!(keep.try_restore(1, &[]), Err("keep 1 cannot read state of version 1".into()));
    assert_eq!(keep.process_columns(1, &[]).expect("no column is wanted").rows("all_events").len(), 1);
}

/// Reads the watermark.
mod watermark {
    use super::*;

    tidemill_sdk::input! { pub(crate) struct In { at: Timestamp, watermark: Timestamp = watermark } }

    tidemill_sdk::output! { pub(crate) feed Marks ("marks") of struct Mark { watermark: Timestamp } }

    pub(crate) struct Marked;

    impl Transform for Marked {
        const NAME: &str = "marked";
        const VERSION: &str = "1";
        const LATENESS: Option<Duration> = Some(Duration::from_hours(1));
        type Row<'a> = In<'a>;
        type Out = Marks;

        fn open(_: &mut Config) -> Result<Self> {
            Ok(Marked)
        }

        fn row(&mut self, row: In<'_>, out: &mut Marks) -> Result<(), Reject> {
            out.emit(Mark { watermark: row.watermark });
            Ok(())
        }
    }

    tidemill_sdk::transform!(Marked);
}

#[test]
fn the_watermark_is_a_column_and_lateness_a_property() {
    let descriptor = open::<watermark::Marked>(&[]).descriptor();
    assert_eq!(descriptor.properties, [("lateness-us".into(), "3600000000".into())]);
    let read = &descriptor.reads[1];
    assert_eq!((&read.origin, read.data_type), (&Origin::Field("watermark".into()), DataType::Timestamp));
    assert_eq!(read.properties, [("watermark".into(), String::new())]);
    assert_eq!(descriptor.reads[0].properties, []);
    assert_eq!(open::<nothing_read::Keep>(&[]).descriptor().properties, []);
}

#[test]
fn a_test_computes_the_watermark_as_a_host_does() {
    let at = |second: i64| row().set("at", Timestamp(second * Timestamp::SECOND));
    let mut marked = open::<watermark::Marked>(&[]).watermark_by("at", Duration::from_secs(10));
    assert_eq!(marked.watermark(), None);
    let outcome = marked.process([row(), at(100), at(95)]);
    let want = |seconds: [i64; 2]| seconds.map(|second| Timestamp(second * Timestamp::SECOND));
    assert_eq!(outcome.rows("marks").column("watermark"), want([90, 90]));
    assert_eq!(outcome.rejected(), [("at is null", vec![0])]);
    // A clock that is ahead counts no more than what has arrived; what a row says, holds.
    let outcome = marked.process([at(900).arrived(Timestamp(200 * Timestamp::SECOND)), at(0)]);
    assert_eq!(outcome.rows("marks").column("watermark"), want([190, 190]));
    let outcome = marked.process([at(901).set("watermark", Timestamp(0)), at(901)]);
    assert_eq!(outcome.rows("marks").column("watermark"), want([0, 190]));
    assert_eq!(marked.watermark(), Some(Timestamp(190 * Timestamp::SECOND)));
    let outcome = open::<watermark::Marked>(&[]).process([at(1)]);
    assert_eq!(outcome.rows("marks").column("watermark"), [Timestamp::MIN]);
}
