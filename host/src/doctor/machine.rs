//! The machine: room on disks, memory, files that may be open.

use std::path::{Path, PathBuf};

use super::course::Course;
use super::report::Finding;
use crate::cli::size;
use crate::config::Config;
use crate::sink::Location;

/// A disk with less is about to be full.
const FULL: u64 = 128 << 20;
/// … and one with less is told of.
const TIGHT: u64 = 2 << 30;
/// What a host takes beside what the setting `memory` bounds, at the least.
const BASE: u64 = 256 << 20;
/// Files that a host has open beside those of its lanes: connections, above all.
const FILES: u64 = 256;
/// Files that one lane has open at most.
const PER_LANE: u64 = 128;

/// All steps.
pub(super) async fn run(mut course: Course, config: &Config) {
    for (name, path) in folders(config) {
        course.step(&format!("disk of {name}"), &[], async { disk(&path) }).await;
    }
    let needed = (config.memory.0 as u64).saturating_add(BASE);
    course
        .step("memory", &[], async { memory(available(Path::new("/")), needed, config.memory.0 as u64) })
        .await;
    let lanes = config.lanes as u64;
    course.step("open files", &[], async { files(open_files(), FILES + lanes * PER_LANE, lanes) }).await;
}

/// What lies on this machine's disks.
fn folders(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let zones = [("raw", &config.raw), ("processed", &config.processed)];
    let zones = zones.into_iter().filter_map(|(name, zone)| match zone {
        Location::Local(root) => Some((name, root.clone())),
        Location::S3 { .. } => None,
    });
    zones.chain(config.cache.clone().map(|cache| ("cache", cache))).collect()
}

/// The room on the disk of a folder, or of what it will be made in.
fn disk(folder: &Path) -> Finding {
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(folder);
    let found = match rustix::fs::statvfs(there) {
        Ok(found) => found,
        Err(e) => {
            return Finding::warning(format!("{}: its disk cannot be asked: {e}", there.display()), "see df");
        }
    };
    let at = there.display();
    if found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Finding::failed(
            format!("{at} is mounted read-only"),
            "mount it for writing, or choose another folder",
        );
    }
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    // Some file systems make them as they are needed, and say that they have none.
    let nodes = (found.f_files > 0).then_some(found.f_favail);
    room(&at.to_string(), free, nodes)
}

fn room(at: &str, free: u64, nodes: Option<u64>) -> Finding {
    let remedy = format!("make room (df -h {at}), or choose another folder");
    let found = format!("{} free at {at}", size(free));
    match (free, nodes) {
        (_, Some(0)) => Finding::failed(format!("{at} has no inodes left"), remedy),
        (..FULL, _) => Finding::failed(found, remedy),
        (..TIGHT, _) => Finding::warning(found, remedy),
        (_, Some(few @ ..10_000)) => Finding::warning(format!("{found}, and only {few} inodes"), remedy),
        _ => Finding::ok(found),
    }
}

/// Bytes that a process can still take: of the machine, or of the group that it is confined to. None: not told.
fn available(root: &Path) -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let meminfo = read("proc/meminfo");
    let machine = meminfo.and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?.trim().to_owned();
        line.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let group = read("proc/self/cgroup").and_then(|text| {
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?.trim_matches('/').to_owned();
        // A bound may lie on any group above, too.
        let groups = Path::new(&path).ancestors().map(|group| format!("sys/fs/cgroup/{}", group.display()));
        groups
            .filter_map(|group| {
                let number = |file: &str| read(&format!("{group}/{file}"))?.trim().parse::<u64>().ok();
                // What caches hold is given back.
                let cached = read(&format!("{group}/memory.stat")).and_then(|text| {
                    text.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok())
                });
                let used = number("memory.current")?.saturating_sub(cached.unwrap_or_default());
                Some(number("memory.max")?.saturating_sub(used))
            })
            .min()
    });
    machine.into_iter().chain(group).min()
}

fn memory(available: Option<u64>, needed: u64, setting: u64) -> Finding {
    let Some(available) = available else { return Finding::ok("this system does not tell what is free") };
    let found = format!(
        "{} available; a host takes {} (setting `memory`) and some {} more",
        size(available),
        size(setting),
        size(BASE)
    );
    let remedy = "lower the setting `memory` (64MiB at the least), or give the machine more";
    match available {
        few if few < setting => Finding::failed(found, remedy),
        few if few < needed => Finding::warning(found, remedy),
        _ => Finding::ok(found),
    }
}

/// How many files this process may have open; none: as many as it likes.
fn open_files() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

fn files(may: Option<u64>, needed: u64, lanes: u64) -> Finding {
    match may {
        None => Finding::ok("no limit"),
        Some(few) if few < needed => Finding::warning(
            format!("{few} may be open; {lanes} lanes may need {needed}"),
            format!("ulimit -n {} (LimitNOFILE= in a unit of systemd)", needed.next_power_of_two().max(4096)),
        ),
        Some(many) => Finding::ok(format!("{many} may be open; {lanes} lanes need {needed} at most")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::State;
    use super::*;

    #[test]
    fn room_is_judged() {
        let state = |free, nodes| room("/lake", free, nodes).state;
        assert_eq!(state(1 << 20, None), State::Failed);
        assert_eq!(state(1 << 30, None), State::Warning);
        assert_eq!(state(1 << 40, None), State::Ok);
        assert_eq!(state(1 << 40, Some(0)), State::Failed);
        assert_eq!(state(1 << 40, Some(5)), State::Warning);
        assert_eq!(state(1 << 40, Some(1 << 20)), State::Ok);
        let dir = tempfile::tempdir().expect("a directory");
        let found = disk(&dir.path().join("not/there/yet"));
        assert!(found.found.contains(&dir.path().display().to_string()), "{}", found.found);
    }

    #[test]
    fn memory_is_what_the_tightest_bound_leaves() {
        let root = tempfile::tempdir().expect("a directory");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("one")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        assert_eq!(available(root.path()), None);
        write("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:    2048 kB\n");
        assert_eq!(available(root.path()), Some(2 << 20));
        write("proc/self/cgroup", "0::/system.slice/tidemill.service\n");
        write("sys/fs/cgroup/system.slice/memory.max", "1048576\n");
        write("sys/fs/cgroup/system.slice/memory.current", "600000\n");
        write("sys/fs/cgroup/system.slice/memory.stat", "anon 1\ninactive_file 100000\n");
        write("sys/fs/cgroup/system.slice/tidemill.service/memory.max", "max\n");
        write("sys/fs/cgroup/system.slice/tidemill.service/memory.current", "5\n");
        assert_eq!(available(root.path()), Some(1_048_576 - 500_000));
        let state = |available, needed, setting| memory(Some(available), needed, setting).state;
        assert_eq!(
            (state(1, 3, 2), state(2, 3, 2), state(3, 3, 2)),
            (State::Failed, State::Warning, State::Ok)
        );
    }

    #[test]
    fn the_limit_of_open_files_is_compared_with_what_lanes_need() {
        assert_eq!(files(Some(1024), 1280, 8).state, State::Warning);
        assert!(files(Some(1024), 1280, 8).remedy.expect("one").contains("ulimit -n 4096"));
        assert_eq!(files(Some(1024), 512, 2).state, State::Ok);
        assert_eq!(files(None, 1280, 8).state, State::Ok);
    }
}
