//! Which windows there are: tumbling, sliding, sessions.

use std::fmt::Debug;
use std::time::Duration;

use crate::Timestamp;
use crate::stored::{Input, Stored};

/// A span of event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// Where it begins; of a session, the time of its first event.
    pub start: Timestamp,
    /// Where it ends: the first time that is not in it. Of a session, the time of its last event.
    pub end: Timestamp,
}

/// How event time is cut into windows: [`Tumbling`], [`Sliding`] or [`Sessions`].
pub trait Windows: Copy + Debug + sealed::Sealed + 'static {
    /// Whether windows are made by what is in them.
    #[doc(hidden)]
    const SESSIONS: bool;

    /// Its lengths.
    #[doc(hidden)]
    fn shape(&self) -> Shape;
}

/// Windows whose bounds are known beforehand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be handed out as increments",
    note = "a session is known when it ends: `type Mode = Final`"
)]
pub trait Fixed: Windows {}

/// The lengths of windows, in microseconds.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// So long, one begins every `slide`.
    Fixed { size: i64, slide: i64 },
    /// As long as no gap between two events is so long.
    Sessions { gap: i64 },
}

/// Windows of one length, one after the other: a row is in one of them. They begin at multiples of their length since
/// 1970 (UTC).
///
/// ```
/// use std::time::Duration;
/// use tidemill_sdk::window::Tumbling;
///
/// let minutes = Tumbling::of(Duration::from_mins(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tumbling(i64);

/// Windows of one length, of which one begins every so often: a row is in several. They begin at multiples of `slide`
/// since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    size: i64,
    slide: i64,
}

/// A window for each visit: it ends when a key has had no row for `gap` of event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions(i64);

impl Tumbling {
    /// Windows of this length. Panics if it is zero, or longer than 100,000 years.
    pub const fn of(size: Duration) -> Self {
        Tumbling(length(size))
    }
}

impl Sliding {
    /// Windows of this length, one every `slide`. Panics if either is zero, or `slide` is longer than `size` or less
    /// than a thousandth of it.
    pub const fn of(size: Duration, slide: Duration) -> Self {
        let (size, slide) = (length(size), length(slide));
        assert!(slide <= size && size / slide <= 1000, "a row is in 1 to 1000 windows");
        Sliding { size, slide }
    }
}

impl Sessions {
    /// Sessions that end after so much inactivity. Panics if it is zero, or longer than 100,000 years.
    pub const fn of(gap: Duration) -> Self {
        Sessions(length(gap))
    }
}

const fn length(duration: Duration) -> i64 {
    let micros = duration.as_micros();
    assert!(micros > 0, "a window has a length");
    assert!(micros < 3_155_760_000_000_000_000, "a window has less than 100,000 years");
    #[allow(clippy::cast_possible_truncation)]
    let micros = micros as i64;
    micros
}

impl Windows for Tumbling {
    const SESSIONS: bool = false;

    #[inline]
    fn shape(&self) -> Shape {
        Shape::Fixed { size: self.0, slide: self.0 }
    }
}

impl Windows for Sliding {
    const SESSIONS: bool = false;

    #[inline]
    fn shape(&self) -> Shape {
        Shape::Fixed { size: self.size, slide: self.slide }
    }
}

impl Windows for Sessions {
    const SESSIONS: bool = true;

    #[inline]
    fn shape(&self) -> Shape {
        Shape::Sessions { gap: self.0 }
    }
}

impl Fixed for Tumbling {}
impl Fixed for Sliding {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Tumbling {}
    impl Sealed for super::Sliding {}
    impl Sealed for super::Sessions {}
}

impl Shape {
    /// The fixed windows that a time is in: the latest first.
    #[inline]
    pub(super) fn of(self, time: Timestamp) -> impl Iterator<Item = Window> {
        let (size, slide) = match self {
            Shape::Fixed { size, slide } => (size, slide),
            Shape::Sessions { gap } => (gap, gap),
        };
        let mut start = Some(time.floor(slide).0);
        std::iter::from_fn(move || {
            let this = start?;
            start = this.checked_sub(slide).filter(|next| time.0.saturating_sub(*next) < size);
            Some(Window { start: Timestamp(this), end: Timestamp(this.saturating_add(size)) })
        })
    }

    /// What is between the end of a window and the watermark that closes it.
    pub(super) fn gap(self) -> i64 {
        match self {
            Shape::Fixed { .. } => 0,
            Shape::Sessions { gap } => gap,
        }
    }

    /// Whether there is such a window.
    pub(super) fn has(self, Window { start, end }: Window) -> bool {
        match self {
            Shape::Fixed { size, slide } => {
                start.floor(slide) == start && start.0.saturating_add(size) == end.0
            }
            Shape::Sessions { .. } => start <= end,
        }
    }
}

impl Stored for Window {
    fn write(&self, bytes: &mut Vec<u8>) {
        (self.start, self.end).write(bytes);
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        let (start, end) = Stored::read(input)?;
        Some(Window { start, end })
    }
}

impl Stored for Shape {
    /// Sessions have no slide.
    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Shape::Fixed { size, slide } => (*size, *slide).write(bytes),
            Shape::Sessions { gap } => (*gap, 0_i64).write(bytes),
        }
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        match Stored::read(input)? {
            (gap, 0) => Some(Shape::Sessions { gap }),
            (size, slide) => Some(Shape::Fixed { size, slide }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(windows: impl Windows, time: i64) -> Vec<i64> {
        let windows: Vec<Window> = windows.shape().of(Timestamp(time)).collect();
        assert!(
            windows.iter().all(|window| window.start.0 <= time && (time < window.end.0 || time == i64::MAX))
        );
        windows.into_iter().map(|window| window.start.0).collect()
    }

    #[test]
    fn a_time_is_in_these_windows() {
        let tumbling = Tumbling::of(Duration::from_micros(10));
        for (time, start) in [(0, 0), (9, 0), (10, 10), (-1, -10), (-10, -10)] {
            assert_eq!(starts(tumbling, time), [start]);
        }
        let sliding = Sliding::of(Duration::from_micros(10), Duration::from_micros(4));
        assert_eq!(starts(sliding, 0), [0, -4, -8]);
        assert_eq!(starts(sliding, 1), [0, -4, -8]);
        assert_eq!(starts(sliding, 2), [0, -4]);
        assert_eq!(starts(sliding, 3), [0, -4]);
        assert_eq!(starts(sliding, -1), [-4, -8]);
        let whole = Sliding::of(Duration::from_micros(10), Duration::from_micros(10));
        assert_eq!(whole.shape(), tumbling.shape());
    }

    #[test]
    fn there_are_windows_at_the_ends_of_time() {
        let sliding = Sliding::of(Duration::from_hours(1), Duration::from_mins(10));
        assert_eq!(starts(sliding, i64::MAX).len(), 6);
        assert_eq!(starts(sliding, i64::MIN)[0], i64::MIN);
    }

    #[test]
    #[should_panic(expected = "a row is in 1 to 1000 windows")]
    fn windows_do_not_leave_rows_out() {
        let _ = Sliding::of(Duration::from_secs(1), Duration::from_secs(2));
    }
}
