//! Which windows there are: tumbling, sliding, nested, sessions.

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

/// How event time is cut into windows: [`Tumbling`], [`Sliding`], [`Nested`] or [`Sessions`].
pub trait Windows: Copy + Debug + sealed::Sealed + 'static {
    /// Whether windows are made by what is in them.
    #[doc(hidden)]
    const SESSIONS: bool;

    /// Its lengths.
    #[doc(hidden)]
    fn shape(&self) -> Shape;

    /// The windows that a time is in, if they are known beforehand: those that end last come first. `near` are those of
    /// the time before, where one of each length is enough: most times are in the same, and a division takes longer than
    /// to see that.
    #[doc(hidden)]
    fn of_time(&self, time: Timestamp, near: &mut Near) -> impl Iterator<Item = Window>;

    /// Whether there is such a window.
    #[doc(hidden)]
    fn has(&self, window: Window) -> bool {
        self.of_time(window.start, &mut Near::default()).any(|have| have == window)
    }

    /// What is between the end of a window and the watermark that closes it.
    #[doc(hidden)]
    #[inline]
    fn gap(&self) -> i64 {
        0
    }
}

/// Windows whose bounds are known beforehand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be handed out as increments",
    note = "a session is known when it ends: `type Mode = Final`"
)]
pub trait Fixed: Windows {}

/// How many lengths windows may have.
const NESTED: usize = 4;

/// Where a window of each length begins: the one that a time was in. In 1970 there is one of each.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Near([i64; NESTED]);

/// The lengths of windows, in microseconds: of fixed ones size and slide, of sessions their gap, of nested ones -1 and
/// all of their sizes. What is not needed is 0.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    size: i64,
    slide: i64,
    nested: [i64; NESTED],
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

/// Windows of several lengths, each as [`Tumbling`]: a row is in one of each. Of two of the same start, the shorter one
/// comes first. What is counted in each of them, [`add_in`](super::Aggregation::add_in) may say.
///
/// ```
/// use std::time::Duration;
/// use tidemill_sdk::window::Nested;
///
/// let minutes_and_hours = Nested::of([Duration::from_mins(1), Duration::from_hours(1)]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nested([i64; NESTED]);

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

impl Nested {
    /// Windows of these lengths, at most four. Panics unless each is a multiple of the one before it.
    pub const fn of<const N: usize>(sizes: [Duration; N]) -> Self {
        assert!(N > 0 && N <= NESTED, "there are 1 to 4 lengths");
        let mut nested = [0; NESTED];
        let mut at = 0;
        while at < N {
            nested[at] = length(sizes[at]);
            let fits = at == 0 || (nested[at] > nested[at - 1] && nested[at] % nested[at - 1] == 0);
            assert!(fits, "each length is a multiple of the one before");
            at += 1;
        }
        Nested(nested)
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
        Shape { size: self.0, slide: self.0, nested: [0; NESTED] }
    }

    #[inline]
    fn of_time(&self, time: Timestamp, near: &mut Near) -> impl Iterator<Item = Window> {
        std::iter::once(around(time, self.0, &mut near.0[0]))
    }
}

impl Windows for Sliding {
    const SESSIONS: bool = false;

    #[inline]
    fn shape(&self) -> Shape {
        Shape { size: self.size, slide: self.slide, nested: [0; NESTED] }
    }

    #[inline]
    fn of_time(&self, time: Timestamp, _: &mut Near) -> impl Iterator<Item = Window> {
        let Sliding { size, slide } = *self;
        let mut start = Some(time.floor(slide).0);
        std::iter::from_fn(move || {
            let this = start?;
            start = this.checked_sub(slide).filter(|next| time.0.saturating_sub(*next) < size);
            Some(Window { start: Timestamp(this), end: Timestamp(this.saturating_add(size)) })
        })
    }
}

impl Windows for Nested {
    const SESSIONS: bool = false;

    #[inline]
    fn shape(&self) -> Shape {
        Shape { size: -1, slide: -1, nested: self.0 }
    }

    #[inline]
    fn of_time(&self, time: Timestamp, near: &mut Near) -> impl Iterator<Item = Window> {
        let (sizes, mut at) = (self.0, NESTED);
        std::iter::from_fn(move || {
            while at > 0 {
                at -= 1;
                if sizes[at] > 0 {
                    return Some(around(time, sizes[at], &mut near.0[at]));
                }
            }
            None
        })
    }
}

impl Windows for Sessions {
    const SESSIONS: bool = true;

    #[inline]
    fn shape(&self) -> Shape {
        Shape { size: self.0, slide: 0, nested: [0; NESTED] }
    }

    fn of_time(&self, _: Timestamp, _: &mut Near) -> impl Iterator<Item = Window> {
        std::iter::empty()
    }

    fn has(&self, Window { start, end }: Window) -> bool {
        start <= end
    }

    #[inline]
    fn gap(&self) -> i64 {
        self.0
    }
}

/// The window of this length that a time is in; it becomes the near one.
#[inline]
fn around(time: Timestamp, size: i64, near: &mut i64) -> Window {
    let mut start = *near;
    // Unsigned: before the start it is more than any size.
    if time.0.wrapping_sub(start).cast_unsigned() >= size.cast_unsigned() {
        start = time.floor(size).0;
        // What would begin before time does begins where time does, and is shorter.
        if start > i64::MIN {
            *near = start;
        }
    }
    Window { start: Timestamp(start), end: Timestamp(start.saturating_add(size)) }
}

impl Fixed for Tumbling {}
impl Fixed for Sliding {}
impl Fixed for Nested {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Tumbling {}
    impl Sealed for super::Sliding {}
    impl Sealed for super::Nested {}
    impl Sealed for super::Sessions {}
}

impl Shape {
    /// Whether it is that of sessions.
    pub(super) fn is_sessions(self) -> bool {
        self.slide == 0
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
    fn write(&self, bytes: &mut Vec<u8>) {
        (self.size, self.slide).write(bytes);
        if self.slide < 0 {
            self.nested.iter().for_each(|size| size.write(bytes));
        }
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        let (size, slide) = Stored::read(input)?;
        let mut nested = [0; NESTED];
        if slide < 0 {
            for size in &mut nested {
                *size = Stored::read(input)?;
            }
        }
        Some(Shape { size, slide, nested })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(windows: impl Windows, time: i64) -> Vec<i64> {
        let windows: Vec<Window> = windows.of_time(Timestamp(time), &mut Near::default()).collect();
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
    fn windows_that_there_are_not_are_told_from_those_that_there_are() {
        let window = |start, end| Window { start: Timestamp(start), end: Timestamp(end) };
        let sliding = Sliding::of(Duration::from_micros(10), Duration::from_micros(4));
        assert!(sliding.has(window(-4, 6)) && !sliding.has(window(-2, 8)) && !sliding.has(window(0, 4)));
        let sessions = Sessions::of(Duration::from_micros(10));
        assert!(sessions.has(window(3, 3)) && !sessions.has(window(3, 2)));
    }

    #[test]
    fn there_are_windows_at_the_ends_of_time() {
        let sliding = Sliding::of(Duration::from_hours(1), Duration::from_mins(10));
        assert_eq!(starts(sliding, i64::MAX).len(), 6);
        assert_eq!(starts(sliding, i64::MIN)[0], i64::MIN);
    }

    #[test]
    fn a_time_is_in_one_window_of_each_length() {
        let sizes = [10, 30, 120].map(Duration::from_micros);
        let nested = Nested::of(sizes);
        assert_eq!(starts(nested, 59), [0, 30, 50]);
        assert_eq!(starts(nested, -1), [-120, -30, -10]);
        assert_eq!(starts(nested, i64::MAX).len(), 3);
        let windows: Vec<Window> = nested.of_time(Timestamp(59), &mut Near::default()).collect();
        assert!(windows.is_sorted_by(|a, b| a.end >= b.end) && windows.iter().all(|one| nested.has(*one)));
        let between = Window { start: Timestamp(10), end: Timestamp(40) };
        assert!(!nested.has(between));
        let mut bytes = Vec::new();
        nested.shape().write(&mut bytes);
        assert_eq!(Shape::read(&mut Input::new(&bytes)), Some(nested.shape()));
    }

    #[test]
    fn where_a_time_is_does_not_depend_on_the_time_before() {
        let sizes = [10, 30, 120].map(Duration::from_micros);
        let (nested, mut near) = (Nested::of(sizes), Near::default());
        let mut time = 0_i64;
        // Through both ends of time.
        for step in [
            0,
            1,
            9,
            1,
            0,
            -1,
            -10,
            150,
            7,
            30,
            -200,
            i64::MAX,
            i64::MIN,
            1,
            3,
            7,
            -11,
            i64::MAX,
            -5,
            i64::MIN,
        ] {
            time = time.wrapping_add(step);
            let windows: Vec<Window> = nested.of_time(Timestamp(time), &mut near).collect();
            let afresh: Vec<Window> = nested.of_time(Timestamp(time), &mut Near::default()).collect();
            assert_eq!(windows, afresh, "{time}");
        }
    }

    #[test]
    #[should_panic(expected = "each length is a multiple of the one before")]
    fn a_short_window_lies_in_a_long_one() {
        let _ = Nested::of([Duration::from_secs(60), Duration::from_secs(90)]);
    }

    #[test]
    #[should_panic(expected = "a row is in 1 to 1000 windows")]
    fn windows_do_not_leave_rows_out() {
        let _ = Sliding::of(Duration::from_secs(1), Duration::from_secs(2));
    }
}
