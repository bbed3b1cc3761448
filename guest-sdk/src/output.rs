//! What a transform hands out: `output!` makes a struct of the computed columns, and a writer that takes them.

use crate::Result;
use crate::spec::OutputSpec;
use crate::wire::{Column, Emission, OutputRows};

/// One output of a transform, made by [`output!`](crate::output), or a tuple of up to four.
///
/// Of a tuple `(A, B)` the author uses the parts: `out.0.emit(…)`, `out.1.emit(…)`.
pub trait Output: Sized {
    /// How many outputs these are.
    const COUNT: u32;

    /// Appends what they are.
    fn specs(specs: &mut Vec<OutputSpec>);
    /// Empty, with room for so many rows each.
    fn with_capacity(rows: usize) -> Self;
    /// What is emitted from here on stems from this input row.
    fn begin(&mut self, row: u32);
    /// Takes back what was emitted since `begin`.
    fn rollback(&mut self);
    /// Appends the emissions; the first of these outputs has the index `first`.
    fn finish(self, stem: Stem, first: u32, emissions: &mut Vec<Emission>) -> Result<()>;
}

/// What emitted rows stem from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// Each from one of so many input rows.
    Rows(u32),
    /// From no single input row.
    Fresh,
}

/// For each emitted row the input row that it stems from. The part of a writer that does not depend on its columns.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    current: u32,
    /// Up to here each input row gave one row.
    each: u32,
    /// If that is not all: the input rows.
    rows: Option<Vec<u32>>,
}

impl Origins {
    /// From here on, rows stem from this one.
    #[inline]
    pub fn begin(&mut self, row: u32) {
        self.current = row;
    }

    /// A row was emitted.
    #[inline]
    pub fn push(&mut self) {
        if self.rows.is_none() && self.current == self.each {
            self.each += 1;
        } else {
            let current = self.current;
            self.list().push(current);
        }
    }

    #[inline(never)]
    fn list(&mut self) -> &mut Vec<u32> {
        self.rows.get_or_insert_with(|| (0..self.each).collect())
    }

    /// Takes back the rows that stem from the current one; how many are left, if any was taken back.
    pub fn rollback(&mut self) -> Option<usize> {
        let current = self.current;
        let rows = self.list();
        let had = rows.len();
        while rows.last() == Some(&current) {
            rows.pop();
        }
        (rows.len() < had).then_some(rows.len())
    }

    /// The emission, if there is any row.
    pub fn finish(
        mut self,
        stem: Stem,
        output: u32,
        spec: &OutputSpec,
        columns: Vec<Column>,
    ) -> Result<Option<Emission>> {
        let count = match &self.rows {
            None => self.each,
            Some(rows) => u32::try_from(rows.len()).map_err(|_| format!("{}: too many rows", spec.name))?,
        };
        let rows = match stem {
            _ if count == 0 => return Ok(None),
            Stem::Fresh if spec.copies() => {
                let name = spec.name;
                return Err(format!("{name} has copied columns: emit its rows from `row`, not later"));
            }
            Stem::Fresh => OutputRows::Fresh(count),
            Stem::Rows(rows) if self.rows.is_none() && rows == count => OutputRows::All,
            Stem::Rows(_) => OutputRows::Selected(std::mem::take(self.list())),
        };
        Ok(Some(Emission { output, rows, columns }))
    }
}

macro_rules! tuple {
    ($($part:ident $index:tt),+) => {
        impl<$($part: Output),+> Output for ($($part,)+) {
            const COUNT: u32 = 0 $(+ $part::COUNT)+;

            fn specs(specs: &mut Vec<OutputSpec>) {
                $($part::specs(specs);)+
            }

            fn with_capacity(rows: usize) -> Self {
                ($($part::with_capacity(rows),)+)
            }

            #[inline]
            fn begin(&mut self, row: u32) {
                $(self.$index.begin(row);)+
            }

            fn rollback(&mut self) {
                $(self.$index.rollback();)+
            }

            fn finish(self, stem: Stem, first: u32, emissions: &mut Vec<Emission>) -> Result<()> {
                let mut next = first;
                $(
                    self.$index.finish(stem, next, emissions)?;
                    next += $part::COUNT;
                )+
                debug_assert_eq!(next, first + Self::COUNT);
                Ok(())
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);

/// Declares an output: the struct that a transform computes, and the columns that the host copies beside it.
///
/// ```
/// use tidemill_sdk::{Int, Text, Timestamp};
///
/// // A table: rows are filed by the date and hour of `timestamp`.
/// tidemill_sdk::output! {
///     table UserEvents ("user_events", by timestamp)
///     of struct Cleaned { event_type: Text, timestamp: Timestamp, device: Option<Text> }
///     // Copied from the input row byte for byte; these columns never enter the transform.
///     copied { user_id: Text, city: Option<Text> = field("/geo/city"), trace: Option<Text> = header("trace-id") }
/// }
///
/// // An additive table: rows that agree in all keys may be merged into one.
/// tidemill_sdk::output! {
///     table Activity ("activity", by minute)
///     of struct Count { minute: Timestamp [key], device: Text [key], events: Int [sum], last: Timestamp [max] }
/// }
///
/// // Without an event time an output is no table: it only feeds other transforms.
/// tidemill_sdk::output! { feed Sessions ("sessions") of struct Session { id: Text, clicks: Int } }
///
/// // Nothing computed: `out.keep()` hands the row on, else it is left out.
/// tidemill_sdk::output! { table Kept ("kept", by at) copied { at: Timestamp = metadata(timestamp), page: Text } }
/// ```
///
/// `out.emit(Cleaned { … })` emits a row. In `row` it stems from the current input row; a row may emit none or several.
/// The struct is `Clone`, `Debug` and `PartialEq`.
#[macro_export]
macro_rules! output {
    ($(#[$meta:meta])* $vis:vis $kind:ident $output:ident ($name:literal $(, by $by:ident)?)
     of $(#[$row_meta:meta])* struct $row:ident {
        $($(#[$field_meta:meta])* $field:ident : $type:ty $([$merge:ident])?),+ $(,)?
     }
     $(copied { $($copy:ident : $copy_type:ty $(= $origin:ident ($($argument:tt)*))? $([$copy_merge:ident])?),* $(,)? })?
    ) => {
        $(#[$row_meta])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $row<'a> { $($(#[$field_meta])* $vis $field: <$type as $crate::Field>::Value<'a>),+ }

        $crate::__writer! {
            [$(#[$meta])* $vis] $kind $output ($name $(, by $by)?)
            computed { $($field : $type [$($merge)?],)+ }
            copied { $($($copy : $copy_type [$($copy_merge)?] [$($origin ($($argument)*))?],)*)? }
        }

        impl $output {
            /// Emits a row.
            #[inline]
            $vis fn emit(&mut self, row: $row<'_>) {
                let ($($field,)+) = &mut self.columns;
                $(<$type as $crate::Field>::push($field, row.$field);)+
                self.origins.push();
            }
        }
    };
    ($(#[$meta:meta])* $vis:vis $kind:ident $output:ident ($name:literal $(, by $by:ident)?)
     copied { $($copy:ident : $copy_type:ty $(= $origin:ident ($($argument:tt)*))? $([$copy_merge:ident])?),+ $(,)? }
    ) => {
        $crate::__writer! {
            [$(#[$meta])* $vis] $kind $output ($name $(, by $by)?)
            computed {}
            copied { $($copy : $copy_type [$($copy_merge)?] [$($origin ($($argument)*))?],)+ }
        }

        impl $output {
            /// Hands the current row on.
            #[inline]
            $vis fn keep(&mut self) {
                self.origins.push();
            }
        }
    };
}

/// The writer of an output and its description.
#[doc(hidden)]
#[macro_export]
macro_rules! __writer {
    ([$(#[$meta:meta])* $vis:vis] $kind:ident $output:ident ($name:literal $(, by $by:ident)?)
     computed { $($field:ident : $type:ty [$($merge:ident)?],)* }
     copied { $($copy:ident : $copy_type:ty [$($copy_merge:ident)?] [$($origin:tt)*],)* }) => {
        $(#[$meta])*
        $vis struct $output {
            origins: $crate::output::Origins,
            columns: ($(<$type as $crate::Field>::Builder,)*),
        }

        impl $output {
            const SPEC: $crate::spec::OutputSpec = $crate::spec::OutputSpec {
                name: $name,
                event_time: $crate::__event_time!($kind $($by)?),
                columns: &[
                    $($crate::spec::OutputColumnSpec {
                        name: $crate::spec::plain(stringify!($field)),
                        data_type: <$type as $crate::Field>::DATA_TYPE,
                        nullable: <$type as $crate::Field>::NULLABLE,
                        copied: None,
                        merge: $crate::__merge!($($merge)?),
                    },)*
                    $($crate::spec::OutputColumnSpec {
                        name: $crate::spec::plain(stringify!($copy)),
                        data_type: <$copy_type as $crate::Field>::DATA_TYPE,
                        nullable: <$copy_type as $crate::Field>::NULLABLE,
                        copied: Some($crate::__origin!($copy $($origin)*)),
                        merge: $crate::__merge!($($copy_merge)?),
                    },)*
                ],
            }.checked();
        }

        const _: &$crate::spec::OutputSpec = &$output::SPEC;

        impl $crate::Output for $output {
            const COUNT: u32 = 1;

            fn specs(specs: &mut Vec<$crate::spec::OutputSpec>) {
                specs.push(Self::SPEC);
            }

            #[allow(unused_variables, clippy::unused_unit)]
            fn with_capacity(rows: usize) -> Self {
                let columns = ($(<$type as $crate::Field>::builder(rows),)*);
                $output { origins: $crate::output::Origins::default(), columns }
            }

            #[inline]
            fn begin(&mut self, row: u32) {
                self.origins.begin(row);
            }

            #[allow(unused_variables)]
            fn rollback(&mut self) {
                if let Some(rows) = self.origins.rollback() {
                    let ($($field,)*) = &mut self.columns;
                    $(<$type as $crate::Field>::truncate($field, rows);)*
                }
            }

            fn finish(
                self,
                stem: $crate::output::Stem,
                first: u32,
                emissions: &mut Vec<$crate::wire::Emission>,
            ) -> $crate::Result<()> {
                let ($($field,)*) = self.columns;
                let columns = vec![$(<$type as $crate::Field>::finish($field)),*];
                emissions.extend(self.origins.finish(stem, first, &Self::SPEC, columns)?);
                Ok(())
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __event_time {
    (table $by:ident) => {
        Some($crate::spec::plain(stringify!($by)))
    };
    (feed) => {
        None
    };
    (table) => {
        compile_error!(
            "a table is filed by a timestamp: `table Name (\"name\", by column)`; without one it is a `feed`"
        )
    };
    (feed $by:ident) => {
        compile_error!("a feed has no event time; with one it is a `table`")
    };
    ($other:ident $($by:ident)?) => {
        compile_error!(concat!("an output is a `table` or a `feed`, not a `", stringify!($other), "`"))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __merge {
    () => {
        $crate::spec::Merge::None
    };
    (key) => {
        $crate::spec::Merge::Key
    };
    (sum) => {
        $crate::spec::Merge::Sum
    };
    (min) => {
        $crate::spec::Merge::Min
    };
    (max) => {
        $crate::spec::Merge::Max
    };
    ($other:ident) => {
        compile_error!(concat!(
            "columns merge as [key], [sum], [min] or [max], not as [",
            stringify!($other),
            "]"
        ))
    };
}
