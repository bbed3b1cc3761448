//! The world inside the sandbox: a clock that stands still, randomness that is always the same,
//! printing that is logging, and nothing else. So a replay gives the same rows, and no call waits.

use std::time::Duration;

use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::{
    Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
};

use super::bindings::{Transform, log, types};
use super::clock::Allowance;
use super::limits::{Limits, Meter};
use super::voice::Voice;

/// Streams, timers and errors of WASI that an instance may hold. The host pays for them.
const RESOURCES: usize = 1024;
/// Bytes that it may ask for at once where it asks for randomness. The host pays for them too.
const RANDOM: u64 = 64 << 10;

/// What the store of one instance holds.
pub(super) struct Guest {
    pub(super) meter: Meter,
    /// The time that this call may still take.
    pub(super) allowance: Allowance,
    pub(super) voice: Voice,
    wasi: WasiCtx,
    table: ResourceTable,
}

impl Guest {
    pub(super) fn new(name: &str, limits: &Limits) -> Self {
        let voice = Voice::new(name);
        // Arguments, environment and files are empty, stdin is at its end, names are not looked up.
        let wasi = WasiCtxBuilder::new()
            .wall_clock(Still)
            .monotonic_clock(Still)
            .secure_random(Deterministic::new(vec![0x5e, 0xed, 0x0f, 0x71, 0xde]))
            .insecure_random(Deterministic::new(vec![0x5e, 0xed, 0x0f, 0x71, 0xde]))
            .insecure_random_seed(0x7_1de)
            .max_random_size(RANDOM)
            .stdout(voice.clone())
            .stderr(voice.clone())
            .allow_ip_name_lookup(false)
            .allow_tcp(false)
            .allow_udp(false)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        Guest { meter: Meter::new(limits), allowance: Allowance::default(), voice, wasi, table }
    }

    /// Gives a component all that it may import.
    pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
        wasmtime_wasi::p2::add_to_linker_sync(linker)?;
        // In place of wasmtime-wasi's, whose timers wait for real.
        linker.allow_shadowing(true);
        monotonic_clock::add_to_linker::<_, HasSelf<_>>(linker, |guest: &mut Guest| guest)?;
        linker.allow_shadowing(false);
        Transform::add_to_linker::<_, HasSelf<_>>(linker, |guest: &mut Guest| guest)
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl types::Host for Guest {}

impl log::Host for Guest {
    fn log(&mut self, level: log::Level, message: String) {
        self.voice.say(level, &message);
    }
}

/// The clock that stands still.
struct Still;

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }
    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1
    }
    fn now(&self) -> u64 {
        0
    }
}

/// A timer of a clock that stands still: it would never ring, so it rings at once. A lane waits for no guest.
struct Over;

#[wasmtime_wasi::async_trait]
impl Pollable for Over {
    async fn ready(&mut self) {}
}

impl monotonic_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(HostMonotonicClock::now(&Still))
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(HostMonotonicClock::resolution(&Still))
    }

    fn subscribe_instant(&mut self, _when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let timer = self.table.push(Over)?;
        subscribe(&mut self.table, timer)
    }

    fn subscribe_duration(&mut self, _duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.subscribe_instant(0)
    }
}

#[cfg(test)]
mod tests {
    use wasmtime_wasi::p2::bindings::sync::io::poll::HostPollable;

    use super::monotonic_clock::Host;
    use super::*;

    #[test]
    fn no_timer_waits() {
        let mut guest = Guest::new("t", &Limits::default());
        for _ in 0..2 * RESOURCES {
            let timer = guest.subscribe_duration(u64::MAX).unwrap();
            guest.table.block(Resource::new_borrow(timer.rep())).unwrap();
            HostPollable::drop(&mut guest.table, timer).unwrap();
        }
        let timers: Vec<_> = (0..RESOURCES).map_while(|_| guest.subscribe_instant(1).ok()).collect();
        assert_eq!(timers.len(), RESOURCES / 2, "a timer takes two places, and there are so many");
    }
}
