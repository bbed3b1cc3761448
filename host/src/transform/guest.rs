//! The world inside the sandbox: a clock that stands still, randomness that is always the same,
//! printing that is logging, and nothing else. So a replay gives the same rows.

use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{
    Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
};

use super::bindings::{log, types};
use super::clock::Allowance;
use super::limits::{Limits, Meter};

/// Bytes of a log message that are kept.
const MESSAGE: usize = 4096;

/// What the store of one instance holds.
pub(super) struct Guest {
    pub(super) meter: Meter,
    /// The time that this call may still take.
    pub(super) allowance: Allowance,
    /// Lines that this call may still log.
    pub(super) lines: usize,
    name: String,
    wasi: WasiCtx,
    table: ResourceTable,
}

impl Guest {
    pub(super) fn new(name: &str, limits: &Limits) -> Self {
        let wasi = WasiCtxBuilder::new()
            .wall_clock(Still)
            .monotonic_clock(Still)
            .secure_random(Deterministic::new(vec![0x5e, 0xed, 0x0f, 0x71, 0xde]))
            .insecure_random(Deterministic::new(vec![0x5e, 0xed, 0x0f, 0x71, 0xde]))
            .insecure_random_seed(0x7_1de)
            .stdout(Printed(name.into()))
            .stderr(Printed(name.into()))
            .allow_tcp(false)
            .allow_udp(false)
            .build();
        Guest {
            meter: Meter::new(limits.memory),
            allowance: Allowance::default(),
            lines: limits.log_lines,
            name: name.into(),
            wasi,
            table: ResourceTable::new(),
        }
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
        if self.lines == 0 {
            return;
        }
        self.lines -= 1;
        let (transform, message) = (self.name.as_str(), cut(&message));
        match level {
            log::Level::Debug => tracing::debug!(transform, "{message}"),
            log::Level::Info => tracing::info!(transform, "{message}"),
            log::Level::Warn => tracing::warn!(transform, "{message}"),
            log::Level::Error => tracing::error!(transform, "{message}"),
        }
        if self.lines == 0 {
            tracing::warn!(transform, "further messages of this call are dropped");
        }
    }
}

/// The message without control characters (a guest must not move the reader's cursor), cut short.
fn cut(message: &str) -> String {
    let mut end = message.len().min(MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

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

/// What a guest prints: a panic's message, most of all.
#[derive(Clone)]
struct Printed(String);

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let text = cut(&String::from_utf8_lossy(&bytes));
        if !text.is_empty() {
            tracing::info!(transform = self.0, "{text}");
        }
        Ok(())
    }
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MESSAGE)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {}
}
