//! Components are compiled in a child process with bounds, once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::transform::{Caps, Compiling, Component, Engine, Package};
use tidemill::{Kind, Result};

use super::support;

fn load(package: &Package, caps: &Caps, cache: Option<&Path>) -> Result<(Component, u64)> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_tidemill"));
    let engine = Arc::new(Engine::new(Compiling::Child { program, caps: caps.clone() }, cache)?);
    let component = Component::load(&engine, package)?;
    Ok((component, engine.cached()))
}

fn refused(package: &Package, caps: &Caps) -> String {
    let refused = load(package, caps, None).err().unwrap();
    assert_eq!(refused.kind(), Kind::Usage, "{refused}");
    refused.to_string()
}

/// The shipped transform `clean`.
fn clean() -> Package {
    Package::read(&support::transforms().join("clean.wasm")).unwrap()
}

/// A component with a module of one function that adds so many times.
fn long(additions: usize) -> Package {
    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        let (mut length, mut out) = (content.len(), vec![id]);
        while length >= 0x80 {
            out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        out.push(u8::try_from(length).unwrap());
        [out, content.to_vec()].concat()
    }
    // (func (param i32) (result i32) local.get 0 (local.get 0 i32.add)*)
    let body = [&[0, 0x20, 0][..], &[0x20, 0, 0x6a].repeat(additions), &[0x0b]].concat();
    // A body is written like a section, without an id.
    let code = [&[1][..], &section(0, &body)[1..]].concat();
    let ty = section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]);
    let module = [b"\0asm\x01\0\0\0".to_vec(), ty, section(3, &[1, 0]), section(10, &code)].concat();
    let wasm = [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module)].concat();
    Package { name: "long".into(), file: "long.wasm".into(), wasm, ..Package::default() }
}

#[test]
fn a_component_is_compiled_once() {
    let (cache, clean) = (tempfile::tempdir().unwrap(), clean());
    let timed = |cached: u64, how: &str| {
        let begun = Instant::now();
        let (component, found) = load(&clean, &Caps::default(), Some(cache.path())).unwrap();
        println!("clean.wasm ({} KiB) {how}: {:?}", clean.wasm.len() >> 10, begun.elapsed());
        assert_eq!((component.spec.name.as_str(), found), ("clean", cached), "{how}");
    };
    timed(0, "compiled in a child");
    timed(1, "from the cache");
    timed(1, "from the cache, again");
    let file = fs::read_dir(cache.path()).unwrap().next().unwrap().unwrap().path();
    println!("the artifact has {} KiB", fs::metadata(&file).unwrap().len() >> 10);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    timed(0, "with a damaged file");
    timed(1, "after the damage");
    fs::remove_dir_all(cache.path()).unwrap();
    timed(0, "without the directory");
}

#[test]
fn what_does_not_compile_says_why() {
    let clean = clean();
    let cut = Package { wasm: clean.wasm[..clean.wasm.len() / 2].to_vec(), ..clean.clone() };
    let said = refused(&cut, &Caps::default());
    assert!(
        said.starts_with(&format!(
            "transform {}: expected a component, found one that does not compile: ",
            clean.file
        )),
        "{said}"
    );
    let here = Arc::new(Engine::new(Compiling::Here, None).unwrap());
    assert_eq!(Component::load(&here, &cut).err().unwrap().to_string(), said, "as in this process");
    // More than a pipe holds, for a child that reads nothing of it.
    let program = PathBuf::from("/bin/false");
    let here = Engine::new(Compiling::Child { program, caps: Caps::default() }, None).unwrap();
    assert!(
        Component::load(&Arc::new(here), &clean).err().unwrap().to_string().contains("its compiler failed")
    );
}

#[test]
fn compiling_has_bounds() {
    let caps = Caps::default();
    let said = refused(&long(2_500_000), &Caps { cpu: 1, ..caps.clone() });
    assert!(said.ends_with("compiling it took more than 1 s of CPU"), "{said}");
    let said = refused(&long(2_500_000), &Caps { wall: Duration::from_millis(300), ..caps.clone() });
    assert!(said.ends_with("compiling it took more than 300ms"), "{said}");
    // The program alone takes some of it; how much follows from its size.
    let own = fs::metadata(env!("CARGO_BIN_EXE_tidemill")).unwrap().len();
    let memory = own + (100 << 20);
    let said = refused(&long(2_500_000), &Caps { memory, ..caps.clone() });
    assert!(said.contains("compiling it took more than") && said.ends_with("MiB of memory"), "{said}");
    let said = refused(&clean(), &Caps { artifact: 1000, ..caps });
    assert!(said.ends_with("it compiles to more than 0 MiB"), "{said}");
}
