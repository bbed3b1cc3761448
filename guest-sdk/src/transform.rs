//! The trait that a transform implements, and the macro that makes it the component's.

use std::time::Duration;

use crate::{Config, Output, Reject, Result, Row, Timestamp};

/// A transform: rows in, rows out. One instance serves one partition.
///
/// It must be deterministic: after `restore`, the same rows must give the same rows, however they are cut into batches.
/// Clock and randomness of the sandbox stand still, so this holds unless a transform counts its calls.
/// An error (and a panic) ends the instance: the host goes back to the last commit and tries the rows again.
/// An error is for what is wrong with the transform or its state; a row that is wrong is a [`Reject`].
pub trait Transform: Sized + 'static {
    /// `[a-z][a-z0-9_]{0,63}`, unique among the transforms of a host.
    const NAME: &'static str;
    /// Usually `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;
    /// The version of what [`snapshot`](Self::snapshot) writes. None: there is no state, and no row is held back
    /// from one call to the next.
    const STATE_VERSION: Option<u32> = None;
    /// How far an event may lag behind the latest before it is late: by so much the watermark is behind.
    /// A default, which a host's configuration goes before. None: the host's own.
    const LATENESS: Option<Duration> = None;

    /// What is read: the struct of an [`input!`](crate::input).
    type Row<'a>: Row<'a>;
    /// What is handed out: an [`output!`](crate::output), or a tuple of them.
    type Out: Output;

    /// Makes an instance. Keys of the config that nobody asks for here are an error.
    fn open(config: &mut Config) -> Result<Self>;

    /// Takes a row: emits any number of rows that stem from it, and says `Ok`; or refuses it.
    /// What a refused row emitted before is taken back.
    fn row(&mut self, row: Self::Row<'_>, out: &mut Self::Out) -> Result<(), Reject>;

    /// After the rows of a batch. What is emitted here stems from no single row, so this is not for outputs with
    /// copied columns, nor for outputs that `row` has emitted to in this batch.
    ///
    /// For transforms that have gathered too much to wait for [`flush`](Self::flush). How rows are cut into batches
    /// may decide when a row is emitted here, never which.
    fn after_batch(&mut self, out: &mut Self::Out) -> Result<()> {
        let _ = out;
        Ok(())
    }

    /// Before a commit: emits what is due. `true` asks to be called again, so that no call hands out too much.
    ///
    /// No row with an event time below the watermark is expected any more; none: nothing is known yet.
    fn flush(&mut self, watermark: Option<Timestamp>, out: &mut Self::Out) -> Result<bool> {
        let _ = (watermark, out);
        Ok(false)
    }

    /// The state, after `flush`. None: it is what the last `snapshot` or `restore` had (at first: nothing).
    /// Must not change what the transform does next.
    fn snapshot(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// Takes over the state that an earlier instance wrote, perhaps of an older version of this transform.
    /// Called at most once, before any row.
    fn restore(&mut self, version: u32, state: &[u8]) -> Result<()> {
        let _ = state;
        Err(format!("{} {} cannot read state of version {version}", Self::NAME, Self::VERSION))
    }
}

/// Makes a [`Transform`] the component's: `tidemill_sdk::transform!(Clean);`, once in a crate.
///
/// The export exists only in the component; natively (`cargo test`) this only checks the type.
#[macro_export]
macro_rules! transform {
    ($transform:ty) => {
        const _: fn(Vec<(String, String)>) -> $crate::Result<$crate::engine::Instance<$transform>> =
            $crate::engine::Instance::open;

        // What the exports of a component look like is wit-bindgen's affair, and it is unsafe code.
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code)]
        const _: () = {
            use $crate::engine::{Guest, Instance};
            use $crate::wire;

            ::std::thread_local! {
                static INSTANCE: ::std::cell::RefCell<Option<Instance<$transform>>> =
                    const { ::std::cell::RefCell::new(None) };
            }

            fn with<R>(
                call: impl FnOnce(&mut Instance<$transform>) -> $crate::Result<R>,
            ) -> $crate::Result<R> {
                INSTANCE
                    .with_borrow_mut(|instance| call(instance.as_mut().ok_or("the transform is not open")?))
            }

            struct Component;

            impl Guest for Component {
                fn open(config: Vec<(String, String)>) -> $crate::Result<wire::Descriptor> {
                    INSTANCE.set(Some(Instance::open(config)?));
                    Ok(Instance::<$transform>::descriptor())
                }

                fn process(rows: u32, columns: Vec<wire::Column>) -> $crate::Result<wire::Outcome> {
                    with(|instance| instance.process(rows, &columns))
                }

                fn flush(watermark: Option<i64>) -> $crate::Result<wire::Flushed> {
                    with(|instance| instance.flush(watermark))
                }

                fn snapshot() -> $crate::Result<Option<Vec<u8>>> {
                    with(|instance| instance.snapshot())
                }

                fn restore(state_version: u32, state: Vec<u8>) -> $crate::Result<()> {
                    with(|instance| instance.restore(state_version, &state))
                }
            }

    $crate::bindings::export_transform!(Component with_types_in $crate::bindings);
        };
    };
}
