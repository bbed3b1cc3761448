//! Compiles components and links them to their world.
//!
//! One engine serves the process. A thread advances its epoch every [`TICK`], which is what ends a
//! call that runs too long.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use wasmtime::component::{Component, Linker};

use super::bindings::{EXPORT, TransformPre, VERSION};
use super::cache::Cache;
use super::compile::Compiling;
use super::guest::Guest;
use super::package::Package;
use crate::{Error, Result};

/// The resolution of a call's time limit.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// The engine and the world that components are linked to.
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<Guest>,
    compiling: Compiling,
    cache: Cache,
    /// Names the engine's configuration in the cache.
    configuration: u64,
    cached: AtomicU64,
    /// Dropped with the engine: tells the ticking thread to end.
    _alive: Arc<()>,
}

/// How components are compiled and run. Who compiles and who runs must agree in it.
pub(super) fn config() -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config.epoch_interruption(true);
    config.concurrency_support(false);
    config
}

impl Engine {
    /// The engine of this process: where it compiles, and the directory that keeps what was compiled.
    pub fn new(compiling: Compiling, cache: Option<&Path>) -> Result<Engine> {
        let stop = |e: wasmtime::Error| Error::stop(format!("cannot start the WebAssembly engine: {e:#}"));
        let engine = wasmtime::Engine::new(&config()).map_err(stop)?;
        let mut linker = Linker::new(&engine);
        Guest::link(&mut linker).map_err(stop)?;
        // Another version of Rust may hash differently; then everything is compiled once more.
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let alive = Arc::new(());
        tick(engine.clone(), Arc::downgrade(&alive))?;
        Ok(Engine {
            engine,
            linker,
            compiling,
            cache: Cache::open(cache),
            configuration: hasher.finish(),
            cached: AtomicU64::new(0),
            _alive: alive,
        })
    }

    /// Components that did not have to be compiled.
    pub fn cached(&self) -> u64 {
        self.cached.load(Ordering::Relaxed)
    }

    pub(super) fn store(&self, guest: Guest) -> wasmtime::Store<Guest> {
        let mut store = wasmtime::Store::new(&self.engine, guest);
        store.limiter(|guest| &mut guest.meter);
        store
    }

    /// Compiles a component. What is not a transform of this contract is refused with the file's name, what was
    /// expected and what was found. `digest` is that of its bytes.
    pub(super) fn compile(&self, package: &Package, digest: &str) -> Result<TransformPre<Guest>> {
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
        let component = self
            .component(bytes, digest)
            .map_err(|e| e.context(format_args!("transform {}", package.file)))?;
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

    /// The machine code of a component: kept from an earlier start, or compiled now.
    fn component(&self, wasm: &[u8], digest: &str) -> Result<Component> {
        let key = format!("{digest}-{:016x}", self.configuration);
        // Whole, but of another engine: the name says little about it.
        let kept = self.cache.get(&key).and_then(|artifact| self.trust(&artifact).ok());
        if let Some(component) = kept {
            self.cached.fetch_add(1, Ordering::Relaxed);
            return Ok(component);
        }
        let artifact = self.compiling.compile(&self.engine, wasm)?;
        let component = self
            .trust(&artifact)
            .map_err(|e| Error::stop(format!("it was compiled for another host: {}", first_line(&e))))?;
        self.cache.put(&key, &artifact);
        Ok(component)
    }

    /// Makes an artifact executable.
    #[allow(unsafe_code)]
    fn trust(&self, artifact: &[u8]) -> wasmtime::Result<Component> {
        // SAFETY: the bytes must be what `precompile_component` gave. Either they just came from it, in this process
        // or in a child that is this very program, over a pipe that nobody else holds; or this user's host wrote
        // them to the cache, where nobody else can write, and their SHA-256 is still the one written with them.
        // They are in memory of our own, so nobody changes them between check and use. That they fit this version
        // and configuration is checked by wasmtime itself.
        unsafe { Component::deserialize(&self.engine, artifact) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compiled_once_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        // A component that holds an empty module.
        let wasm = b"\0asm\x0d\0\x01\0\x01\x08\0asm\x01\0\0\0".to_vec();
        let package = Package { file: "t.wasm".into(), wasm, ..Package::default() };
        let load = |wasm: Vec<u8>| {
            let package = Package { wasm, ..package.clone() };
            let engine = Engine::new(Compiling::Here, Some(dir.path())).unwrap();
            let refused = engine.compile(&package, &package.digest()).err().unwrap().to_string();
            (engine.cached(), refused)
        };
        for cached in [0, 1, 1] {
            let (found, refused) = load(package.wasm.clone());
            assert_eq!(found, cached);
            assert!(refused.contains("a component without exports"), "{refused}");
        }
        let (_, refused) = load(package.wasm[..12].to_vec());
        assert!(
            refused.starts_with("transform t.wasm: expected a component, found one that does not compile: "),
            "{refused}"
        );
    }
}
