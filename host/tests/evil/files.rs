//! Files that are refused when they are loaded: no transforms, broken ones, and bombs.

use std::time::Instant;

use tidemill::transform::Component;
use tidemill::transform::run::Runner;
use tidemill::{Kind, Result};

use super::graft::{with_import, with_module, with_nested};
use super::support::{
    Call, SHORT, SOON, engine, evil, innocent_goes_on, limited, live, package, plan, readable,
};

fn load(wasm: Vec<u8>) -> Result<Component> {
    let begun = Instant::now();
    let loaded = Component::load(engine(), &package("evil", wasm, &limited(SHORT)));
    assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    loaded
}

/// It is refused with these words, and what is innocent goes on.
fn refused(wasm: Vec<u8>, says: &str) {
    match load(wasm) {
        Ok(_) => panic!("it was accepted; expected: {says}"),
        Err(error) => {
            println!("{error}"); // for a reader of `--nocapture`
            readable(&error, Kind::Usage, says);
        }
    }
    innocent_goes_on();
}

/// The evil guest, which is honest here, with this module grown onto it.
fn module(module: &str) -> Vec<u8> {
    with_module(&evil(), module, 1)
}

#[test]
fn nothing() {
    refused(vec![], "not WebAssembly");
}

/// No guest can do it by itself: clocks and chance are the same in every instance. So what was said the first time is
/// changed here.
#[test]
fn an_open_that_answers_differently_the_second_time() {
    let mut component = load(evil()).unwrap();
    component.spec.version = "another".into();
    let graph = plan(vec![component]).unwrap();
    let Err(error) = Runner::open(&graph, 0, &[]) else { panic!("it was opened") };
    readable(&error, Kind::Abandon, "it describes itself differently from the first time");
}

#[test]
fn a_text() {
    refused(b"(component)".to_vec(), "not WebAssembly");
}

#[test]
fn a_module() {
    refused(wat::parse_str("(module (memory 1))").unwrap(), "a core module; build it for wasm32-wasip2");
}

#[test]
fn a_component_that_exports_nothing() {
    refused(wat::parse_str("(component)").unwrap(), "a component without exports");
}

#[test]
fn a_component_of_another_contract() {
    let text = r#"(component (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#;
    refused(wat::parse_str(text).unwrap(), "found a component that exports wasi:cli/run@0.2.0");
}

#[test]
fn a_component_of_a_later_contract() {
    let text = r#"(component (instance $i) (export "tidemill:transform/api@9.9.9" (instance $i)))"#;
    refused(wat::parse_str(text).unwrap(), "run a host that speaks 9.9.9");
}

#[test]
fn a_component_that_only_has_the_name() {
    let text = r#"(component (instance $i) (export "tidemill:transform/api@0.1.0" (instance $i)))"#;
    refused(wat::parse_str(text).unwrap(), "does not fit this host");
}

#[test]
fn an_import_that_no_host_has() {
    refused(with_import(&evil(), "door"), "does not fit this host");
}

#[test]
fn truncated() {
    let whole = evil();
    for part in 1..16 {
        refused(whole[..whole.len() * part / 16].to_vec(), "evil.wasm");
    }
    refused(whole[..whole.len() - 1].to_vec(), "evil.wasm");
}

/// A flipped bit is refused, or what it makes is as harmless as any other guest.
#[test]
fn bits_flipped() {
    let whole = evil();
    // Somewhere else each time, and the same in every run.
    for nth in 1..=40_usize {
        let at = nth.wrapping_mul(0x9e37_79b9) % whole.len();
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (nth % 8);
        let life = live(&package("evil", flipped, &limited(SHORT)), vec![]);
        if let Some((call, error)) = life.failed {
            let kind = if matches!(call, Call::Load | Call::Plan) { Kind::Usage } else { Kind::Abandon };
            readable(&error, kind, "evil.wasm");
        }
    }
    innocent_goes_on();
}

#[test]
fn a_memory_beyond_the_limit() {
    refused(module("(module (memory 1025))"), "memory");
}

#[test]
fn a_hundred_memories_beyond_the_limit() {
    refused(module(&format!("(module {})", "(memory 16)".repeat(100))), "memor");
}

#[test]
fn a_hundred_memories() {
    refused(module(&format!("(module {})", "(memory 1)".repeat(100))), "memor");
}

#[test]
fn a_table_beyond_the_limit() {
    refused(module("(module (table 10000000 funcref))"), "table");
}

/// Each within its bound, 160 MB together.
pub(super) fn table_bomb() -> Vec<u8> {
    let fill = |nth| format!("(table.fill {nth} (i32.const 0) (ref.func $f) (i32.const 100000))");
    let text = format!(
        "(module {} (elem declare func $f) (func $f) (func $go {}) (start $go))",
        "(table 100000 funcref)".repeat(100),
        (0..100).map(fill).collect::<String>()
    );
    with_module(&evil(), &text, 2)
}

#[test]
fn many_tables() {
    refused(table_bomb(), "table");
}

#[test]
fn many_instances() {
    refused(with_module(&evil(), "(module (memory 1))", 900), "memory count too high at 9");
}

#[test]
fn a_start_that_never_ends() {
    refused(module("(module (func $go (loop (br 0))) (start $go))"), "it took longer than 500ms");
}

#[test]
fn a_start_that_fills_the_stack() {
    refused(module("(module (func $go (call $go)) (start $go))"), "call stack exhausted");
}

#[test]
fn a_start_that_takes_all_memory_gets_no_more_than_that() {
    let text = "(module (memory 1) (func $go
        (loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
        (memory.fill (i32.const 0) (i32.const 1) (i32.mul (memory.size) (i32.const 65536)))) (start $go))";
    // What is left for the guest itself is too little to open, or just enough.
    if let Err(error) = load(module(text)) {
        readable(&error, Kind::Usage, "it trapped");
    }
}

/// Components in components: nothing runs in them, so they may be there.
#[test]
fn nested_deeply() {
    for depth in [10, 1000, 10_000] {
        if let Err(error) = load(with_nested(&evil(), depth)) {
            readable(&error, Kind::Usage, "compil");
        }
    }
}

/// Functions that each take little: 1.4 MB, a minute.
fn many_functions() -> Vec<u8> {
    module(&format!("(module {})", "(func (result i32) i32.const 1)".repeat(200_000)))
}

/// Blocks in blocks, and a branch out of each: 1.6 MB, four minutes.
fn deep_function() -> Vec<u8> {
    let depth = 200_000;
    let body = format!("{}{}", "block local.get 0 br_if 0 ".repeat(depth), "end ".repeat(depth));
    module(&format!("(module (func (param i32) {body}))"))
}

/// One function with as many locals as there may be, all of which live to the end: no bomb so far.
fn long_function() -> Vec<u8> {
    let count = 49_000;
    let set: String = (1..count)
        .map(|n| format!("(local.set {n} (i64.mul (local.get {}) (i64.const {n})))", n - 1))
        .collect();
    let get: String = (1..count).map(|n| format!("local.get {n} i64.xor ")).collect();
    let locals = "i64 ".repeat(count - 1);
    module(&format!("(module (func (param i64) (result i64) (local {locals}) {set} local.get 0 {get}))"))
}

#[test]
fn compile_bombs() {
    for bomb in [many_functions(), deep_function()] {
        // Of time or of memory: which comes first depends on how the compiler was compiled.
        refused(bomb, "compiling it took more than ");
    }
}

#[test]
#[ignore = "a measurement: what loading each bomb takes"]
fn what_bombs_take() {
    let bombs: [(&str, Vec<u8>); 6] = [
        ("honest", evil()),
        ("many functions", many_functions()),
        ("deep function", deep_function()),
        ("long function", long_function()),
        ("tables", table_bomb()),
        ("instances", with_module(&evil(), "(module (memory 1))", 900)),
    ];
    for (name, wasm) in bombs {
        let (begun, bytes) = (Instant::now(), wasm.len());
        let loaded = Component::load(engine(), &package("evil", wasm, ""));
        let end = loaded.map_or_else(|e| e.to_string(), |_| "accepted".into());
        println!("{name}, {bytes} bytes: {:?}, {end}", begun.elapsed());
    }
}
