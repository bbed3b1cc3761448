//! What is tested: each kind of windows in each mode that it has.

use std::time::Duration;

use tidemill_sdk::aggregate::{Count, Distinct, First, Last, Max, Min, Sum, TopK};
use tidemill_sdk::window::{
    Aggregation, Final, Increments, Nested, Sessions, Sliding, Tumbling, Window, Windows,
};
use tidemill_sdk::{Coded, Config, Int, Reject, Result, Term, Text, Timestamp};

pub(crate) const SIZE: i64 = 600 * Timestamp::SECOND;
pub(crate) const SLIDE: i64 = 240 * Timestamp::SECOND;
pub(crate) const SIZES: [i64; 3] =
    [120 * Timestamp::SECOND, 600 * Timestamp::SECOND, 3600 * Timestamp::SECOND];
pub(crate) const GAP: i64 = 300 * Timestamp::SECOND;

tidemill_sdk::input! {
    pub(crate) struct Event { at: Timestamp, mark: Timestamp = watermark, key: Coded, user: Text, amount: Int }
}

tidemill_sdk::output! {
    pub(crate) table Sums ("table", by start)
    of struct Change {
        start: Timestamp [key], stop: Timestamp [key], name: Text [key],
        rows: Int [sum], users: Int [sum], amount: Int [sum], least: Option<Int> [min], most: Option<Int> [max],
    }
}

tidemill_sdk::output! {
    pub(crate) table Wholes ("table", by start)
    of struct Whole {
        start: Timestamp, stop: Timestamp, name: Text,
        rows: Int, users: Int, amount: Int, least: Option<Int>, most: Option<Int>, first: Text, last: Text, top: Text,
    }
}

/// Windows that need no lengths: those of the tests.
pub(crate) trait Lengths: Windows {
    const THIS: Self;
}

impl Lengths for Tumbling {
    const THIS: Tumbling = Tumbling::of(Duration::from_micros(SIZE.unsigned_abs()));
}

impl Lengths for Sliding {
    const THIS: Sliding =
        Sliding::of(Duration::from_micros(SIZE.unsigned_abs()), Duration::from_micros(SLIDE.unsigned_abs()));
}

impl Lengths for Nested {
    const THIS: Nested = Nested::of([
        Duration::from_micros(SIZES[0].unsigned_abs()),
        Duration::from_micros(SIZES[1].unsigned_abs()),
        Duration::from_micros(SIZES[2].unsigned_abs()),
    ]);
}

impl Lengths for Sessions {
    const THIS: Sessions = Sessions::of(Duration::from_micros(GAP.unsigned_abs()));
}

/// Counts, sums and extremes, as increments: nothing is kept.
#[derive(Debug)]
pub(crate) struct Additive<W>(W);

/// Distinct users too: kept until windows close. `M` bytes of groups.
#[derive(Debug)]
pub(crate) struct Retained<W, const M: usize>(W);

/// Everything, once. `M` bytes of groups.
#[derive(Debug)]
pub(crate) struct Once<W, const M: usize>(W);

/// Keys are looked up by their numbers where `$key` is `Coded`, else by their texts.
macro_rules! common {
    ($mode:ty, $key:ty, |$event:ident| $found:expr) => {
        const NAME: &str = "tested";
        const VERSION: &str = "1";
        type Row<'a> = Event<'a>;
        type Windows = W;
        type Mode = $mode;
        type Key = $key;

        fn open(_: &mut Config) -> Result<Self> {
            Ok(Self(W::THIS))
        }

        fn windows(&self) -> W {
            self.0
        }

        fn time(&self, event: &Event<'_>) -> Timestamp {
            event.at
        }

        fn watermark(&self, event: &Event<'_>) -> Timestamp {
            event.mark
        }

        fn key<'a>(&self, $event: &'a Event<'_>) -> <$key as tidemill_sdk::Key>::Ref<'a> {
            $found
        }

        fn accept(&self, event: &Event<'_>) -> Result<bool, Reject> {
            match event.amount {
                1000 => Ok(false),
                1001 => Err("amount is too large".into()),
                _ => Ok(true),
            }
        }
    };
}

impl<W: Lengths + tidemill_sdk::window::Fixed> Aggregation for Additive<W> {
    common!(Increments, Coded, |event| event.key);
    type Out = Sums;
    type Value = (Count, Sum<i64>, Min<i64>, Max<i64>);

    fn add(&self, value: &mut Self::Value, event: &Event<'_>) {
        value.0.add();
        value.1.add(event.amount);
        value.2.add(event.amount);
        value.3.add(event.amount);
    }

    fn emit(
        &self,
        window: Window,
        name: Term<'_>,
        change: (i64, i64, Option<i64>, Option<i64>),
        out: &mut Sums,
    ) {
        let (rows, amount, least, most) = change;
        let (start, stop, name) = (window.start, window.end, (&*name).into());
        out.emit(Change { start, stop, name, rows, users: 0, amount, least, most });
    }
}

impl<W: Lengths + tidemill_sdk::window::Fixed, const M: usize> Aggregation for Retained<W, M> {
    common!(Increments, Coded, |event| event.key);
    const MEMORY: usize = M;
    type Out = Sums;
    type Value = (Count, Distinct<300, 6>, Sum<i64>, Min<i64>, Max<i64>);

    fn add(&self, value: &mut Self::Value, event: &Event<'_>) {
        value.0.add();
        value.1.add(event.user);
        value.2.add(event.amount);
        value.3.add(event.amount);
        value.4.add(event.amount);
    }

    fn emit(
        &self,
        window: Window,
        name: Term<'_>,
        change: (i64, i64, i64, Option<i64>, Option<i64>),
        out: &mut Sums,
    ) {
        let (rows, users, amount, least, most) = change;
        let (start, stop, name) = (window.start, window.end, (&*name).into());
        out.emit(Change { start, stop, name, rows, users, amount, least, most });
    }
}

type Everything =
    (Count, Distinct, Sum<i64>, Min<i64>, Max<i64>, First<String>, Last<String>, TopK<String, 50>);

impl<W: Lengths, const M: usize> Aggregation for Once<W, M> {
    common!(Final, String, |event| &event.key);
    const MEMORY: usize = M;
    type Out = Wholes;
    type Value = Everything;

    fn add(&self, value: &mut Everything, event: &Event<'_>) {
        value.0.add();
        value.1.add(event.user);
        value.2.add(event.amount);
        value.3.add(event.amount);
        value.4.add(event.amount);
        value.5.add(event.at, event.user);
        value.6.add(event.at, event.user);
        value.7.add(event.user);
    }

    fn emit(&self, window: Window, name: &str, value: Everything, out: &mut Wholes) {
        let (rows, users, amount, least, most, first, last, top) = value;
        let top = top.top(50);
        out.emit(Whole {
            start: window.start,
            stop: window.end,
            name: name.into(),
            rows: rows.get(),
            users: users.get(),
            amount: amount.get(),
            least: least.get(),
            most: most.get(),
            first: first.get().unwrap_or("?").into(),
            last: last.get().unwrap_or("?").into(),
            top: top
                .iter()
                .map(|(user, count, _)| format!("{user}={count}"))
                .collect::<Vec<_>>()
                .join(" ")
                .into(),
        });
    }
}
