//! Every way to hurt a host that could be thought of, in one component.
//!
//! `open` is told by the key `do` which behaviour of [`behaviours::BEHAVIOURS`] it shows; `honest` is none. With a
//! key `on`, `process` shows it only if a row of the batch has this page. `do = "list"` describes a table with a
//! column for each behaviour, so that a test can know them all.
//!
//! Written on the bare contract, without the SDK, which makes most of this impossible. A behaviour starts from the
//! honest answer and spoils one thing.

mod allocator;
mod behaviours;
mod bindings;
mod honest;
mod memory;

use std::cell::RefCell;

use behaviours::{BEHAVIOURS, Behaviour};
use bindings::exports::tidemill::transform::api::Guest;
use bindings::tidemill::transform::types::{Column, Descriptor, Flushed, Outcome};
use honest::Rows;

/// What goes wrong outside of rows, in one sentence.
type Result<T> = std::result::Result<T, String>;

struct Evil;

struct Instance {
    behaviour: Behaviour,
    /// `process` is honest unless a row has this page.
    on: Option<String>,
    /// Rows that went in: the state.
    seen: u64,
}

thread_local! {
    static INSTANCE: RefCell<Option<Instance>> = const { RefCell::new(None) };
}

fn with<R>(call: impl FnOnce(&mut Instance) -> Result<R>) -> Result<R> {
    INSTANCE.with_borrow_mut(|instance| call(instance.as_mut().ok_or("the transform is not open")?))
}

impl Guest for Evil {
    fn open(config: Vec<(String, String)>) -> Result<Descriptor> {
        let (mut wanted, mut on) = (String::from("honest"), None);
        for (key, value) in config {
            match key.as_str() {
                "do" => wanted = value,
                "on" => on = Some(value),
                other => return Err(format!("there is no setting {other}")),
            }
        }
        if wanted == "list" {
            return Ok(honest::list(BEHAVIOURS.iter().map(|(name, _)| *name)));
        }
        let known = BEHAVIOURS.iter().find(|(name, _)| *name == wanted);
        let behaviour = known.ok_or_else(|| format!("it cannot do {wanted}"))?.1;
        INSTANCE.set(Some(Instance { behaviour, on, seen: 0 }));
        (behaviour.open)(honest::descriptor())
    }

    fn process(rows: u32, columns: Vec<Column>) -> Result<Outcome> {
        with(|instance| {
            let rows = Rows::read(rows, columns)?;
            instance.seen += u64::from(rows.count);
            let outcome = honest::outcome(&rows);
            match &instance.on {
                Some(page) if rows.pages.iter().all(|p| p.as_ref() != Some(page)) => Ok(outcome),
                _ => (instance.behaviour.process)(&rows, outcome),
            }
        })
    }

    fn flush(_: Option<i64>) -> Result<Flushed> {
        with(|instance| (instance.behaviour.flush)(Flushed { emissions: vec![], more: false }))
    }

    fn snapshot() -> Result<Option<Vec<u8>>> {
        with(|instance| (instance.behaviour.snapshot)(instance.seen.to_le_bytes().to_vec()).map(Some))
    }

    fn restore(_: u32, state: Vec<u8>) -> Result<()> {
        with(|instance| {
            (instance.behaviour.restore)()?;
            let seen = <[u8; 8]>::try_from(state).map_err(|s| format!("its state has {} bytes", s.len()))?;
            instance.seen = u64::from_le_bytes(seen);
            Ok(())
        })
    }
}
