//! What a transform reads: `input!` makes a struct of it, one value of which is one row.

use crate::spec::{InputSpec, SourceSpec};
use crate::wire::Column;
use crate::{Reject, Result};

/// A row that a transform reads. Made by [`input!`](crate::input); `()` is the row of a transform that reads nothing.
pub trait Row<'a>: Copy {
    /// Readers of the columns.
    type Columns;

    /// From where, and which columns.
    const SPEC: InputSpec;

    /// Looks at a batch of so many rows.
    fn columns(columns: &'a [Column], rows: usize) -> Result<Self::Columns>;
    /// The row, or a reject if a field is null that must not be.
    fn get(columns: &Self::Columns, row: usize) -> Result<Self, Reject>;
}

impl Row<'_> for () {
    type Columns = ();

    const SPEC: InputSpec = InputSpec { source: SourceSpec::Topic, columns: &[] };

    fn columns(_: &[Column], _: usize) -> Result<()> {
        Ok(())
    }

    fn get((): &(), _: usize) -> Result<(), Reject> {
        Ok(())
    }
}

/// Declares the struct that a transform reads, a field for each column.
///
/// ```
/// use tidemill_sdk::{Bytes, Int, Text, Timestamp};
///
/// tidemill_sdk::input! {
///     struct Event {
///         user_id: Text,                                      // the JSON member `user_id`; null rejects the row
///         r#type: Option<Text>,                               // `type`; null is None
///         screen: Option<Text> = field("screenName"),         // a member by another name
///         city: Option<Text> = field("/geo/city"),            // a JSON Pointer (RFC 6901)
///         kafka_time: Option<Timestamp> = metadata(timestamp), // also topic, partition, offset, key, value
///         trace: Option<Bytes> = header("trace-id"),          // the last header of this name
///         country: Text [dictionary],                         // few distinct values: sent once each
///         watermark: Timestamp = watermark,                   // no earlier row is expected any more; see below
///     }
/// }
/// ```
///
/// `struct Event from topic "orders" { … }` reads a topic by name, and `struct Event from output "user_events" { … }`
/// what another transform hands out.
///
/// `= watermark` is the watermark as of the row: the latest event time of the rows up to it, less the allowed lateness.
/// It is never null and never goes back; before anything is known it is [`Timestamp::MIN`](crate::Timestamp::MIN). What
/// depends on it, and not on when a batch ends or `flush` is called, is the same however rows are cut into batches.
///
/// The struct is `Clone`, `Copy`, `Debug` and `PartialEq`; its lifetime is the batch's.
#[macro_export]
macro_rules! input {
    ($(#[$meta:meta])* $vis:vis struct $row:ident $(from $kind:ident $source:literal)? {
        $($(#[$field_meta:meta])* $field:ident : $type:ty $(= $origin:ident $(($($argument:tt)*))?)? $([$layout:ident])?),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        $vis struct $row<'a> { $($(#[$field_meta])* $vis $field: <$type as $crate::Field>::View<'a>),+ }

        impl<'a> $crate::Row<'a> for $row<'a> {
            type Columns = ($(<$type as $crate::Field>::Reader<'a>,)+);

            const SPEC: $crate::spec::InputSpec = $crate::spec::InputSpec {
                source: $crate::__source!($($kind $source)?),
                columns: &[$($crate::spec::InputColumnSpec {
                    name: $crate::spec::plain(stringify!($field)),
                    origin: $crate::__origin!($field $($origin $(($($argument)*))?)?),
                    data_type: <$type as $crate::Field>::DATA_TYPE,
                    dictionary: $crate::__dictionary!($($layout)?) | <$type as $crate::Field>::DICTIONARY,
                }),+],
            }.checked();

            fn columns(columns: &'a [$crate::wire::Column], rows: usize) -> $crate::Result<Self::Columns> {
                let mut columns = columns.iter();
                let columns = ($({
                    const NAME: &str = $crate::spec::plain(stringify!($field));
                    $crate::field::reader(&mut columns, NAME, rows)?
                },)+);
                Ok(columns)
            }

            #[inline]
            fn get(columns: &Self::Columns, row: usize) -> $crate::Result<Self, $crate::Reject> {
                let ($($field,)+) = columns;
                Ok($row { $($field: match $crate::Read::get($field, row) {
                    Some(value) => value,
                    None => {
                        const REASON: &str = $crate::spec::plain(concat!(stringify!($field), " is null"));
                        return Err($crate::Reject::from(REASON));
                    }
                }),+ })
            }
        }

        // Also when no transform uses the struct yet.
        const _: &$crate::spec::InputSpec = &<$row<'_> as $crate::Row<'_>>::SPEC;
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __source {
    () => {
        $crate::spec::SourceSpec::Topic
    };
    (topic $name:literal) => {
        $crate::spec::SourceSpec::NamedTopic($name)
    };
    (output $name:literal) => {
        $crate::spec::SourceSpec::Output($name)
    };
    ($($other:tt)*) => {
        compile_error!(concat!("read `from topic \"name\"` or `from output \"name\"`, not from `", stringify!($($other)*), "`"))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __dictionary {
    () => {
        false
    };
    (dictionary) => {
        true
    };
    ($other:ident) => {
        compile_error!(concat!("the only layout to ask for is [dictionary], not [", stringify!($other), "]"))
    };
}
