//! Compiles components and links them to their world.
//!
//! One engine serves the process. A thread advances its epoch every [`TICK`], which is what ends a
//! call that runs too long.

use std::sync::{Arc, Weak};
use std::time::Duration;

use wasmtime::component::{Component, Linker};

use super::bindings::{EXPORT, TransformPre, VERSION};
use super::guest::Guest;
use super::package::Package;
use crate::{Error, Result};

/// The resolution of a call's time limit.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// The engine and the world that components are linked to.
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<Guest>,
    /// Dropped with the engine: tells the ticking thread to end.
    _alive: Arc<()>,
}

impl Engine {
    /// The engine of this process.
    pub fn new() -> Result<Engine> {
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        config.concurrency_support(false);
        let stop = |e: wasmtime::Error| Error::stop(format!("cannot start the WebAssembly engine: {e:#}"));
        let engine = wasmtime::Engine::new(&config).map_err(stop)?;
        let mut linker = Linker::new(&engine);
        Guest::link(&mut linker).map_err(stop)?;
        let alive = Arc::new(());
        tick(engine.clone(), Arc::downgrade(&alive))?;
        Ok(Engine { engine, linker, _alive: alive })
    }

    pub(super) fn store(&self, guest: Guest) -> wasmtime::Store<Guest> {
        let mut store = wasmtime::Store::new(&self.engine, guest);
        store.limiter(|guest| &mut guest.meter);
        store
    }

    /// Compiles a component. What is not a transform of this contract is refused with the file's name, what was
    /// expected and what was found. `digest` is that of its bytes.
    pub(super) fn compile(&self, package: &Package, _digest: &str) -> Result<TransformPre<Guest>> {
        let refuse = |found: String| {
            Error::usage(format!(
                "transform {}: expected a component that exports {EXPORT}{VERSION}, found {found}",
                package.file
            ))
        };
        let bytes = &package.wasm;
        match bytes.get(..8) {
            Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => {
                return Err(refuse(
                    "a core module; build it for wasm32-wasip2, as `tidemill build` does".into(),
                ));
            }
            Some([0, b'a', b's', b'm', ..]) => {}
            _ => return Err(refuse("a file that is not WebAssembly".into())),
        }
        let component = Component::new(&self.engine, bytes)
            .map_err(|e| refuse(format!("one that does not compile: {}", first_line(&e))))?;
        let ty = component.component_type();
        let exports: Vec<String> = ty.exports(&self.engine).map(|(name, _)| name.to_string()).collect();
        match exports.iter().find_map(|name| name.strip_prefix(EXPORT)) {
            Some(version) if version.starts_with("0.1.") => {}
            Some(version) => {
                return Err(refuse(format!(
                    "{EXPORT}{version}; rebuild it with tidemill-sdk 0.1, or run a host that speaks {version}"
                )));
            }
            None if exports.is_empty() => return Err(refuse("a component without exports".into())),
            None => return Err(refuse(format!("a component that exports {}", exports.join(", ")))),
        }
        self.linker
            .instantiate_pre(&component)
            .and_then(TransformPre::new)
            .map_err(|e| refuse(format!("one that does not fit this host: {}", first_line(&e))))
    }
}

fn tick(engine: wasmtime::Engine, alive: Weak<()>) -> Result<()> {
    std::thread::Builder::new()
        .name("epoch".into())
        .spawn(move || {
            while alive.strong_count() > 0 {
                std::thread::sleep(TICK);
                engine.increment_epoch();
            }
        })
        .map(drop)
        .map_err(|e| Error::stop(format!("cannot start a thread: {e}")))
}

/// The reason at the root of an error, without wasmtime's backtrace.
pub(super) fn first_line(error: &wasmtime::Error) -> String {
    let root = error.root_cause().to_string();
    root.lines().next().unwrap_or_default().to_string()
}
