//! One transform at work for one partition: an instance in its sandbox, called on its lane's thread.

use std::sync::Arc;

use arrow::array::ArrayRef;
use wasmtime::Trap;

use super::bindings::{Transform, types as wit};
use super::columns::Crossing;
use super::component::Loaded;
use super::engine::{TICK, first_line};
use super::guest::Guest;
use super::limits::Limits;
use super::outcome::{self, Checked, Emission};
use super::spec::Spec;

/// An instance that has been opened. An error of any method ends it: open a new one.
pub(super) struct Instance {
    loaded: Arc<Loaded>,
    store: wasmtime::Store<Guest>,
    bindings: Transform,
}

impl Instance {
    /// Makes an instance and opens it; gives what it said of itself.
    pub(super) fn open(loaded: &Arc<Loaded>) -> Result<(Self, wit::Descriptor), String> {
        let limits = &loaded.sidecar.limits;
        let mut store = loaded.engine.store(Guest::new(loaded.label(), limits));
        arm(&mut store, limits, Limits::fuel(0));
        let bindings = loaded.pre.instantiate(&mut store).map_err(|e| failed(&e, limits))?;
        let config: Vec<(&str, &str)> =
            loaded.sidecar.config.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let opened = bindings.tidemill_transform_api().call_open(&mut store, &config);
        let descriptor =
            opened.map_err(|e| failed(&e, limits))?.map_err(|e| format!("it does not open: {}", said(&e)))?;
        Ok((Instance { loaded: loaded.clone(), store, bindings }, descriptor))
    }

    fn limits(&self) -> &Limits {
        &self.loaded.sidecar.limits
    }

    /// Hands it a batch: the columns it reads, each `rows` long.
    pub(super) fn process(
        &mut self,
        spec: &Spec,
        rows: usize,
        columns: &[ArrayRef],
    ) -> Result<Checked, String> {
        let crossing: Vec<Crossing<'_>> = spec
            .reads
            .iter()
            .zip(columns)
            .map(|(read, array)| Crossing::new(array.as_ref(), read.dictionary))
            .collect::<Result<_, _>>()?;
        let params: Vec<wit::ColumnParam<'_>> = crossing.iter().map(Crossing::param).collect();
        let bytes = crossing.iter().map(Crossing::size).sum();
        let count = u32::try_from(rows).map_err(|_| format!("a batch of {rows} rows is too large"))?;
        arm(&mut self.store, &self.loaded.sidecar.limits, Limits::fuel(bytes));
        let result = self.bindings.tidemill_transform_api().call_process(&mut self.store, count, &params);
        let outcome = result
            .map_err(|e| failed(&e, self.limits()))?
            .map_err(|e| format!("it gave up: {}", said(&e)))?;
        outcome::process(outcome, rows, spec, self.limits()).map_err(|e| format!("it returned nonsense: {e}"))
    }

    /// Asks for what is due; true: there is more.
    pub(super) fn flush(
        &mut self,
        spec: &Spec,
        watermark: Option<i64>,
    ) -> Result<(Vec<(usize, Emission)>, bool), String> {
        arm(&mut self.store, &self.loaded.sidecar.limits, Limits::fuel(FLUSH));
        let result = self.bindings.tidemill_transform_api().call_flush(&mut self.store, watermark);
        let flushed = result
            .map_err(|e| failed(&e, self.limits()))?
            .map_err(|e| format!("it gave up in flush: {}", said(&e)))?;
        let emissions = outcome::flush(flushed.emissions, spec, self.limits())
            .map_err(|e| format!("it returned nonsense from flush: {e}"))?;
        Ok((emissions, flushed.more))
    }

    /// Its state; none: the state is what the last snapshot or restore had.
    pub(super) fn snapshot(&mut self) -> Result<Option<Vec<u8>>, String> {
        let most = self.limits().state;
        arm(&mut self.store, &self.loaded.sidecar.limits, most + Limits::fuel(0));
        let result = self.bindings.tidemill_transform_api().call_snapshot(&mut self.store);
        let state = result
            .map_err(|e| failed(&e, self.limits()))?
            .map_err(|e| format!("it gave up in snapshot: {}", said(&e)))?;
        match state {
            Some(state) if state.len() > most => {
                Err(format!("its state has {} bytes; {most} are the most", state.len()))
            }
            state => Ok(state),
        }
    }

    /// Gives it what an earlier instance's snapshot gave.
    pub(super) fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        arm(&mut self.store, &self.loaded.sidecar.limits, Limits::fuel(0));
        let result = self.bindings.tidemill_transform_api().call_restore(&mut self.store, version, state);
        result
            .map_err(|e| failed(&e, self.limits()))?
            .map_err(|e| format!("it refuses its state: {}", said(&e)))
    }
}

/// Bytes that a flush may hand out, an eighth of what the host may allocate for it.
const FLUSH: usize = 4 << 20;

/// Before every call: what it may take.
fn arm(store: &mut wasmtime::Store<Guest>, limits: &Limits, fuel: usize) {
    let ticks = limits.call.as_millis().div_ceil(TICK.as_millis()) + 1;
    store.set_epoch_deadline(u64::try_from(ticks).unwrap_or(u64::MAX));
    store.set_hostcall_fuel(fuel);
    store.data_mut().voice.refill(limits);
}

fn failed(error: &wasmtime::Error, limits: &Limits) -> String {
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => format!("it took longer than {:?} (limits.call-ms)", limits.call),
        Some(trap) => format!("it trapped: {trap}"),
        None => first_line(error),
    }
}

/// A guest's own words in an error, cut short and on one line.
fn said(words: &str) -> String {
    words.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
