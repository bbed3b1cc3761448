//! What it takes of the host: time, memory, the log, the world outside. And how it ends.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use crate::Result;
use crate::allocator;
use crate::bindings::tidemill::transform::log;
use crate::bindings::tidemill::transform::types::{Descriptor, Outcome, Values};
use crate::honest::Rows;

/// Never ends.
pub(crate) fn spin() -> ! {
    loop {
        black_box(());
    }
}

/// A while for each page that it does not like: more than a host that knows what such rows take would wait, and less
/// than any limit.
pub(super) fn slow_on_value(rows: &Rows, outcome: Outcome) -> Result<Outcome> {
    let slow = rows.pages.iter().filter(|page| page.as_deref() == Some(POISON)).count();
    for round in 0..slow as u64 * 1_000_000_000 {
        black_box(round);
    }
    Ok(outcome)
}

/// The next batch cannot be handed over.
pub(super) fn loop_in_alloc(_: &Rows, outcome: Outcome) -> Result<Outcome> {
    allocator::loop_in_alloc();
    Ok(outcome)
}

/// The next batch would be written outside of its memory.
pub(super) fn lie_in_alloc(_: &Rows, outcome: Outcome) -> Result<Outcome> {
    allocator::lie();
    Ok(outcome)
}

/// The answer cannot be given back.
pub(super) fn loop_in_free(_: &Rows, outcome: Outcome) -> Result<Outcome> {
    if let Values::Ints(lengths) = &outcome.emissions[0].columns[1].values {
        allocator::loop_in_free(lengths);
    }
    Ok(outcome)
}

/// A minute: longer than any limit, and a test that waits for it still ends.
pub(super) fn sleep<T>(honest: T) -> Result<T> {
    std::thread::sleep(Duration::from_secs(60));
    Ok(honest)
}

/// Takes memory until there is none.
pub(super) fn memory() -> ! {
    loop {
        std::mem::forget(black_box(vec![1u8; 1 << 20]));
    }
}

/// Takes almost what it may have, touches all of it, and answers.
pub(super) fn hoard<T>(honest: T) -> T {
    std::mem::forget(black_box(vec![1u8; 40 << 20]));
    honest
}

/// Calls itself until the stack is full.
pub(super) fn stack(rows: &Rows, outcome: Outcome) -> Result<Outcome> {
    fn deeper(depth: u64) -> u64 {
        if black_box(depth) == u64::MAX { 0 } else { deeper(depth + 1) ^ black_box(1) }
    }
    black_box(deeper(u64::from(rows.count)));
    Ok(outcome)
}

pub(super) fn log_lines<T>(honest: T) -> T {
    (0..20_000).for_each(|line| log::log(log::Level::Info, &format!("line {line} of a flood")));
    honest
}

pub(super) fn log_megabytes<T>(honest: T) -> T {
    let megabyte = "m".repeat(1 << 20);
    (0..200).for_each(|_| log::log(log::Level::Error, &megabyte));
    honest
}

pub(super) fn print_lines<T>(honest: T) -> T {
    (0..2_000).for_each(|line| println!("line {line} of a flood"));
    honest
}

pub(super) fn print_megabytes<T>(honest: T) -> T {
    let megabyte = "m".repeat(1 << 20);
    (0..20).for_each(|_| println!("{megabyte}"));
    honest
}

pub(super) fn print_for_ever() -> ! {
    loop {
        println!("and on");
    }
}

/// Would clear the reader's screen and write a line of the host's.
pub(super) fn print_escapes<T>(honest: T) -> T {
    println!("\u{1b}[2J\u{1b}[H2025-01-01 INFO all is well\r\nERROR not from here");
    log::log(log::Level::Info, "\u{1b}]0;title\u{7}\nERROR not from here");
    honest
}

/// Shown from right to left from here on, what follows reads as something else.
pub(super) fn print_backwards<T>(honest: T) -> T {
    log::log(log::Level::Info, "\u{202e}llew si lla");
    honest
}

/// An error if any file can be seen or made.
pub(super) fn files(honest: Descriptor) -> Result<Descriptor> {
    for path in ["/", ".", "/etc/passwd", "../../etc/passwd", "/proc/self/environ"] {
        if std::fs::read_dir(path).is_ok() || std::fs::read(path).is_ok() {
            return Err(format!("it can read {path}"));
        }
    }
    match std::fs::write("/tmp/evil", b"x") {
        Ok(()) => Err("it can write a file".into()),
        Err(_) => Ok(honest),
    }
}

/// An error if anything can be reached or listened to.
pub(super) fn sockets(honest: Descriptor) -> Result<Descriptor> {
    use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
    if TcpStream::connect("127.0.0.1:22").is_ok() || TcpListener::bind("127.0.0.1:0").is_ok() {
        return Err("it can use TCP".into());
    }
    if UdpSocket::bind("127.0.0.1:0").is_ok() {
        return Err("it can use UDP".into());
    }
    match "localhost:80".to_socket_addrs() {
        Ok(_) => Err("it can look up names".into()),
        Err(_) => Ok(honest),
    }
}

/// An error if anything of the host's process can be seen.
pub(super) fn environment(honest: Descriptor) -> Result<Descriptor> {
    use std::io::Read;
    let (variables, arguments) = (std::env::vars_os().count(), std::env::args_os().count());
    let mut byte = [0];
    let read = std::io::stdin().read(&mut byte).unwrap_or(0);
    match (variables, arguments, read) {
        (0, 0, 0) => Ok(honest),
        found => Err(format!("it sees (variables, arguments, input) {found:?}")),
    }
}

/// Describes itself by all that could differ from one opening to the next: clocks, randomness, addresses.
pub(super) fn chance(mut honest: Descriptor) -> Result<Descriptor> {
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher;
    let random = RandomState::new().hash_one(1);
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let before = Instant::now();
    let passed = before.elapsed().as_nanos();
    let place = std::ptr::from_ref(&before).addr();
    honest.version = format!("{random:x}-{clock}-{passed}-{place:x}");
    Ok(honest)
}

/// Every hundredth event of the partition, however the batches are cut.
pub(super) fn trap_every_nth_row(rows: &Rows, outcome: Outcome) -> Result<Outcome> {
    if let Some(offset) = rows.offsets.iter().find(|offset| **offset % 100 == 99) {
        panic!("it does not like offset {offset}");
    }
    Ok(outcome)
}

/// The page that it does not like.
const POISON: &str = "/poison";

pub(super) fn trap_on_value(rows: &Rows, outcome: Outcome) -> Result<Outcome> {
    assert!(!rows.pages.iter().any(|page| page.as_deref() == Some(POISON)), "it does not like {POISON}");
    Ok(outcome)
}

pub(super) fn error_on_value(rows: &Rows, outcome: Outcome) -> Result<Outcome> {
    match rows.pages.iter().any(|page| page.as_deref() == Some(POISON)) {
        true => Err(format!("it does not like {POISON}")),
        false => Ok(outcome),
    }
}
