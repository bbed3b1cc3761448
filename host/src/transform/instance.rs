//! One transform at work for one partition: an instance in its sandbox, called on its lane's thread.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::UpdateDeadline;

use super::bindings::{Transform, types as wit};
use super::clock::Allowance;
use super::columns::{Column, Crossing};
use super::component::Loaded;
use super::fault::Fault;
use super::guest::Guest;
use super::limits::Limits;
use super::outcome::{self, Checked, Emission};
use super::spec::Spec;

/// An instance that has been opened. An error of any method ends it: open a new one.
pub(super) struct Instance {
    loaded: Arc<Loaded>,
    store: wasmtime::Store<Guest>,
    bindings: Transform,
    /// How long the last call took: the guest's part, without what the host makes of its answer.
    took: Duration,
}

impl Instance {
    /// Makes an instance and opens it; gives what it said of itself.
    pub(super) fn open(loaded: &Arc<Loaded>) -> Result<(Self, wit::Descriptor), Fault> {
        let limits = &loaded.sidecar.limits;
        let mut store = loaded.engine.store(Guest::new(loaded.label(), limits));
        store.epoch_deadline_callback(|store| {
            let spent = store.data().allowance.spent();
            Ok(if spent { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) })
        });
        arm(&mut store, limits, limits.call, Limits::fuel(0));
        let bindings = match loaded.pre.instantiate(&mut store) {
            Ok(bindings) => bindings,
            Err(e) => return Err(failed(&mut store, &e, limits, limits.call)),
        };
        let config: Vec<(&str, &str)> =
            loaded.sidecar.config.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let opened = bindings.tidemill_transform_api().call_open(&mut store, &config);
        let opened = opened.map_err(|e| failed(&mut store, &e, limits, limits.call))?;
        let descriptor = opened.map_err(|e| Fault::error("it does not open", &e))?;
        Ok((Instance { loaded: loaded.clone(), store, bindings, took: Duration::ZERO }, descriptor))
    }

    fn limits(&self) -> &Limits {
        &self.loaded.sidecar.limits
    }

    /// Bytes of its linear memories.
    pub(super) fn memory(&self) -> usize {
        self.store.data().meter.memory()
    }

    /// How long the last call took, with lifting and lowering.
    pub(super) fn took(&self) -> Duration {
        self.took
    }

    /// Hands it a batch: the columns it reads, each `rows` long. `allowed` is what the call may take.
    pub(super) fn process(
        &mut self,
        spec: &Spec,
        rows: usize,
        columns: &[Column],
        allowed: Duration,
    ) -> Result<Checked, Fault> {
        let crossing: Vec<Crossing<'_>> = spec
            .reads
            .iter()
            .zip(columns)
            .map(|(read, column)| Crossing::new(column, read.dictionary))
            .collect::<Result<_, _>>()
            .map_err(Fault::contract)?;
        let params: Vec<wit::ColumnParam<'_>> = crossing.iter().map(Crossing::param).collect();
        let bytes = crossing.iter().map(Crossing::size).sum();
        let count = u32::try_from(rows)
            .map_err(|_| Fault::contract(format!("a batch of {rows} rows is too large")))?;
        arm(&mut self.store, &self.loaded.sidecar.limits, allowed, Limits::fuel(bytes));
        let result = self.bindings.tidemill_transform_api().call_process(&mut self.store, count, &params);
        self.took = self.store.data().allowance.took();
        let outcome = result
            .map_err(|e| failed(&mut self.store, &e, &self.loaded.sidecar.limits, allowed))?
            .map_err(|e| Fault::error("it gave up", &e))?;
        outcome::process(outcome, rows, spec, self.limits())
            .map_err(|e| Fault::contract(format!("it returned nonsense: {e}")))
    }

    /// Asks for what is due; true: there is more.
    pub(super) fn flush(
        &mut self,
        spec: &Spec,
        watermark: Option<i64>,
    ) -> Result<(Vec<(usize, Emission)>, bool), Fault> {
        self.arm(Limits::fuel(FLUSH));
        let result = self.bindings.tidemill_transform_api().call_flush(&mut self.store, watermark);
        self.took = self.store.data().allowance.took();
        let flushed =
            result.map_err(|e| self.failed(&e))?.map_err(|e| Fault::error("it gave up in flush", &e))?;
        let emissions = outcome::flush(flushed.emissions, spec, self.limits())
            .map_err(|e| Fault::contract(format!("it returned nonsense from flush: {e}")))?;
        Ok((emissions, flushed.more))
    }

    /// Its state; none: the state is what the last snapshot or restore had.
    pub(super) fn snapshot(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        let most = self.limits().state;
        self.arm(most + Limits::fuel(0));
        let result = self.bindings.tidemill_transform_api().call_snapshot(&mut self.store);
        self.took = self.store.data().allowance.took();
        let state =
            result.map_err(|e| self.failed(&e))?.map_err(|e| Fault::error("it gave up in snapshot", &e))?;
        match state {
            Some(state) if state.len() > most => {
                Err(Fault::contract(format!("its state has {} bytes; {most} are the most", state.len())))
            }
            state => Ok(state),
        }
    }

    /// Gives it what an earlier instance's snapshot gave.
    pub(super) fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), Fault> {
        self.arm(Limits::fuel(0));
        let result = self.bindings.tidemill_transform_api().call_restore(&mut self.store, version, state);
        result.map_err(|e| self.failed(&e))?.map_err(|e| Fault::error("it refuses its state", &e))
    }

    fn arm(&mut self, fuel: usize) {
        let limits = &self.loaded.sidecar.limits;
        arm(&mut self.store, limits, limits.call, fuel);
    }

    fn failed(&mut self, error: &wasmtime::Error) -> Fault {
        let limits = &self.loaded.sidecar.limits;
        failed(&mut self.store, error, limits, limits.call)
    }
}

/// Bytes that a flush may hand out, an eighth of what the host may allocate for it.
const FLUSH: usize = 4 << 20;

fn failed(
    store: &mut wasmtime::Store<Guest>,
    error: &wasmtime::Error,
    limits: &Limits,
    allowed: Duration,
) -> Fault {
    Fault::of(error, limits, allowed, store.data_mut().meter.take_refused())
}

/// Before every call: what it may take.
fn arm(store: &mut wasmtime::Store<Guest>, limits: &Limits, allowed: Duration, fuel: usize) {
    // At every tick the clock is asked.
    store.set_epoch_deadline(1);
    store.set_hostcall_fuel(fuel);
    store.data_mut().allowance = Allowance::new(allowed);
    store.data_mut().voice.refill(limits);
}
