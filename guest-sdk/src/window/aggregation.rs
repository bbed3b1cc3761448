//! The trait that an author implements.

use std::str::FromStr;
use std::time::Duration;

use super::{Mode, State, Window, Windows};
use crate::aggregate::Aggregate;
use crate::{Config, Key, Output, Reject, Result, Row, Timestamp};

/// What [`Aggregation::emit`] is given: changes as [`Increments`](super::Increments), the value as
/// [`Final`](super::Final).
pub type Emitted<A> =
    <<A as Aggregation>::Mode as Mode<<A as Aggregation>::Value, <A as Aggregation>::Windows>>::Emitted;

/// The borrowed form of the key of an aggregation.
pub type KeyRef<'a, A> = <<A as Aggregation>::Key as Key>::Ref<'a>;

/// The state of an aggregation.
pub type StateOf<A> = State<<A as Aggregation>::Key, <A as Aggregation>::Value, Emitted<A>>;

/// What happens to a row that comes after its window was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// It is refused, with the reason `late`: it lies in the rejected zone and can be replayed.
    Reject,
    /// It is handed out as a group of its own, beside what was handed out of its window. Whoever reads the table sums
    /// counts and sums, and takes the least and greatest of extremes; a distinct value counts once more for each late
    /// row, and a session of one event is added.
    Correct,
}

impl FromStr for Late {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "reject" => Ok(Late::Reject),
            "correct" => Ok(Late::Correct),
            _ => Err("it is `reject` or `correct`"),
        }
    }
}

/// Rows are grouped by window and key, and a value is made of each group. [`Windowed`](super::Windowed) makes it a
/// transform: `transform!(Windowed<MyAggregation>);`. See [the module](super) for an example.
///
/// What is handed out depends on the rows and their order, not on how they are cut into batches nor on when a host
/// commits or starts anew; so its functions must give the same for the same row.
///
/// What does not go together does not compile:
///
/// ```compile_fail
/// # use tidemill_sdk::{aggregate::*, window::*};
/// fn mode<M: Mode<V, W>, V: Aggregate, W: Windows>() {}
/// mode::<Increments, TopK<String, 10>, Tumbling>(); // no increments of this
/// ```
/// ```compile_fail
/// # use tidemill_sdk::{aggregate::*, window::*};
/// fn mode<M: Mode<V, W>, V: Aggregate, W: Windows>() {}
/// mode::<Increments, (Count, Mean), Tumbling>(); // nor of this
/// ```
/// ```compile_fail
/// # use tidemill_sdk::{aggregate::*, window::*};
/// fn mode<M: Mode<V, W>, V: Aggregate, W: Windows>() {}
/// mode::<Increments, Count, Sessions>(); // a session is known when it ends
/// ```
/// ```
/// # use tidemill_sdk::{aggregate::*, window::*};
/// fn mode<M: Mode<V, W>, V: Aggregate, W: Windows>() {}
/// mode::<Increments, (Count, Distinct), Sliding>();
/// mode::<Final, (TopK<String, 10>, Mean), Sessions>();
/// ```
pub trait Aggregation: Sized + 'static {
    /// The transform's name: `[a-z][a-z0-9_]{0,63}`, unique among the transforms of a host.
    const NAME: &'static str;
    /// Usually `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;
    /// The version of `Key` and `Value`: another one when they change. See [`migrate`](Self::migrate).
    const STATE_VERSION: u32 = 1;
    /// How far a row may lag behind the latest before it is late: a default, which a host's configuration goes before.
    /// The longer, the later windows close and the more of them are kept. None: the host's own.
    const LATENESS: Option<Duration> = None;
    /// What happens to late rows, unless the setting `late` is `reject` or `correct`.
    const LATE: Late = Late::Reject;
    /// About how many bytes of groups are kept, unless the setting `memory_mib` says. Beyond, exact distinct sets become
    /// sketches, largest first; if that does not do, the oldest windows are closed early (which is logged, once). A
    /// snapshot takes at most about as much (a host's limit is `state-mib`), memory two to three times as much.
    const MEMORY: usize = 6 << 20;

    /// What is read: the struct of an [`input!`](crate::input).
    type Row<'a>: Row<'a>;
    /// What is handed out: an [`output!`](crate::output).
    type Out: Output;
    /// How time is cut.
    type Windows: Windows;
    /// When windows are handed out.
    type Mode: Mode<Self::Value, Self::Windows>;
    /// By what rows are grouped within a window.
    type Key: Key;
    /// What is made of a group: an aggregate, or a tuple of them.
    type Value: Aggregate;

    /// Makes it. Keys of the config that nobody asks for are an error; `late` and `memory_mib` are asked for
    /// already.
    fn open(config: &mut Config) -> Result<Self>;

    /// The lengths of windows.
    fn windows(&self) -> Self::Windows;

    /// The event time of a row.
    fn time(&self, row: &Self::Row<'_>) -> Timestamp;

    /// The watermark as of a row: a column `watermark: Timestamp = watermark`.
    ///
    /// Not asked for, if nothing is kept until windows close ([`Increments`](super::Increments) of counts, sums and
    /// extremes): then it may be [`Timestamp::MIN`].
    fn watermark(&self, row: &Self::Row<'_>) -> Timestamp;

    /// The key of a row.
    fn key<'a>(&self, row: &'a Self::Row<'_>) -> KeyRef<'a, Self>;

    /// Whether a row counts at all; or refuses it.
    fn accept(&self, row: &Self::Row<'_>) -> Result<bool, Reject> {
        let _ = row;
        Ok(true)
    }

    /// Adds a row to its group.
    fn add(&self, value: &mut Self::Value, row: &Self::Row<'_>);

    /// Adds a row to its group in this window: for windows of several lengths that do not all count the same. Of a
    /// session only the row's own time is told.
    #[inline]
    fn add_in(&self, window: Window, value: &mut Self::Value, row: &Self::Row<'_>) {
        let _ = window;
        self.add(value, row);
    }

    /// Emits what became of a group: with [`Increments`](super::Increments) what changed since it was last emitted, with
    /// [`Final`](super::Final) the value. Only to outputs without copied columns.
    fn emit(&self, window: Window, key: KeyRef<'_, Self>, value: Emitted<Self>, out: &mut Self::Out);

    /// Makes state of an older `STATE_VERSION` the present one's. `State::decode` reads it with the types that it had.
    fn migrate(&self, version: u32, state: &[u8]) -> Result<StateOf<Self>> {
        let _ = state;
        Err(format!("{} {} cannot read state of version {version}", Self::NAME, Self::VERSION))
    }
}
