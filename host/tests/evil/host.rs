//! The evil guest in a whole host, beside the shipped transforms: broker, lanes, lake.

use std::path::Path;
use std::time::Duration;

use tidemill::observe::Status;

use super::house::{Host, House, clean_rows, events_per_minute, rejects, transforms};
use super::support::{LONG, evil, told};

/// A folder with the shipped transforms and the evil one, told what to do.
fn folder(house: &House, behaviour: &str) -> std::path::PathBuf {
    let folder = house.lake().join("transforms");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["clean.wasm", "activity_per_minute.wasm"] {
        std::fs::copy(transforms().join(name), folder.join(name)).unwrap();
    }
    let evil = told(behaviour, LONG);
    write(&folder, "evil.wasm", &evil.wasm);
    write(&folder, "evil.toml", evil.sidecar.as_deref().unwrap_or_default().as_bytes());
    folder
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(folder.join(name), bytes).unwrap();
}

const POISON: &str =
    r#"{"user_id":"u1","event_type":"click","timestamp":"2025-12-02T10:00:00Z","page":"/poison"}"#;
const GOOD: &str = r#"{"user_id":"u1","event_type":"click","timestamp":"2025-12-02T10:00:00Z","page":"/"}"#;

/// Rows at both ends of what 64 bits can say are filed at the edges of the calendar; nothing else suffers.
#[test]
fn rows_of_times_that_are_none_are_filed() {
    let house = House::new("times");
    house.send(&[Some(GOOD); 60]);
    let folder = folder(&house, "time_before_time");
    let done = house.begin(&folder, &[("until-end", "true")]).ended(Duration::from_secs(120)).unwrap();
    assert_eq!((done.events, done.rows["evil"], clean_rows(&house).len()), (60, 60, 60));
    assert_eq!(events_per_minute(&house), 60);
    assert_eq!(done.rows["evil_due"] % 4, 0);
    assert!(house.lake().join("processed/evil_due").is_dir());
}

/// What becomes of a behaviour in a host that is at work.
enum Comes {
    /// It is refused before it runs, and this is said.
    Refused(&'static str),
    /// It fails on the rows with the page `/poison`, which are rejected for this reason. Others go through.
    Rejects(&'static str),
    /// It fails on every row, is broken, and the set before takes over; this is said.
    FallsBack(&'static str),
    /// It does no harm.
    Lives,
}

use Comes::{FallsBack, Lives, Refused, Rejects};

/// One for each kind of end.
const COMES: &[(&str, Comes)] = &[
    ("honest", Lives),
    ("loop_in_open", Refused("took longer than")),
    ("memory_bomb_in_open", Refused("limits.memory-mib")),
    ("name_traversal", Refused("the transform's name is")),
    ("table_of_another", Refused("both make the output user_events")),
    ("loop_in_flush", Refused("took longer than")),
    ("trap_in_snapshot", Refused("trapped")),
    ("flush_more_for_ever", Refused("still has more to flush")),
    ("snapshot_giant", Refused("makes the host hold more")),
    ("trap_on_value", Rejects("poison: trapped: wasm `unreachable` instruction executed")),
    ("error_on_value", Rejects("poison: gave up with an error")),
    ("loop_in_process", Rejects("poison: took too long")),
    ("stack_overflow", Rejects("poison: trapped: call stack exhausted")),
    ("not_utf8", Rejects("poison: returned what breaks the contract")),
    ("emitted_and_rejected", Rejects("poison: returned what breaks the contract")),
    ("offsets_descend", FallsBack("fails on more than 3 rows")),
    ("offsets_split_a_character", FallsBack("again and again")),
    ("exit", FallsBack("fails on more than 3 rows")),
    ("log_flood", Lives),
    ("print_flood", Lives),
    ("sleep_in_process", Lives),
    ("open_sockets", Lives),
];

/// Each is dropped into one running host, while events come.
#[test]
fn whatever_comes_the_shipped_transforms_go_on() {
    let house = House::new("evil");
    let folder = house.lake().join("transforms");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["clean.wasm", "activity_per_minute.wasm"] {
        std::fs::copy(transforms().join(name), folder.join(name)).unwrap();
    }
    let host = house.begin(&folder, &[("lanes", "1")]);
    let only = |status: &Status, names: &[&str]| {
        let live = status.partitions.values().filter(|p| p.set == status.set && !p.paused).count();
        status.transforms.iter().map(|t| t.file.as_str()).eq(names.iter().copied()) && live == 3
    };
    let (good, both) = (["activity_per_minute", "clean"], ["activity_per_minute", "clean", "evil"]);
    host.until("the shipped ones are live", |now| only(now, &good));
    let (mut sent, mut rejected) = (0, 0);
    let send = |host: &Host, sent: &mut u64| {
        let mut events = [GOOD; 60];
        (events[7], events[41]) = (POISON, POISON);
        house.send(&events.map(Some));
        *sent += 60;
        let wanted = *sent;
        host.wait("all events are committed", |now| now.events >= wanted);
    };
    for (behaviour, comes) in COMES {
        println!("{behaviour}");
        // Broken after a few rows, so that it is soon over.
        let on = if matches!(comes, Rejects(_)) { "on = \"/poison\"\n" } else { "" };
        let sidecar =
            format!("[config]\ndo = \"{behaviour}\"\n{on}[limits]\npoison-rows = 3\ncall-ms = 500\n");
        write(&folder, "evil.toml", sidecar.as_bytes());
        write(&folder, "evil.wasm", &evil());
        match comes {
            Lives => {
                host.until("it is live", |now| only(now, &both));
                send(&host, &mut sent);
            }
            Refused(why) => {
                let now = host.until("it is refused", |now| !now.refused.is_empty());
                assert!(now.refused.iter().any(|r| r.reason.contains(why)), "{behaviour}: {:?}", now.refused);
                assert!(only(&now, &good), "{behaviour}: {now:?}");
                send(&host, &mut sent);
            }
            Rejects(why) => {
                host.until("it is live", |now| only(now, &both));
                send(&host, &mut sent);
                rejected += 2;
                let all = rejects(&house);
                assert_eq!(all.len(), rejected, "{behaviour}: {all:?}");
                let here = all.iter().filter(|(_, reason)| reason == why).count();
                assert!(here >= 2, "{behaviour}: {all:?}");
            }
            FallsBack(why) => {
                let live = host.until("it is live", |now| only(now, &both));
                let over = |now: &Status| now.partitions.values().all(|p| p.set < live.set && !p.paused);
                // Where no row is to blame it takes some batches more.
                for _ in 0..40 {
                    send(&host, &mut sent);
                    if why.starts_with("fails on more") || over(&host.until("it is asked", |_| true)) {
                        break;
                    }
                }
                let now = host.until("the set before has taken over", over);
                let told = now.partitions.values().filter_map(|p| p.error.as_deref());
                assert!(told.clone().any(|e| e.contains(why)), "{behaviour}: {now:?}");
            }
        }
        assert_eq!(clean_rows(&house).len() as u64, sent, "{behaviour}");
        std::fs::remove_file(folder.join("evil.wasm")).unwrap();
        std::fs::remove_file(folder.join("evil.toml")).unwrap();
        host.until("it is gone", |now| only(now, &good) && now.refused.is_empty());
    }
    host.stop(Duration::from_secs(20)).unwrap();
    assert_eq!(u64::try_from(events_per_minute(&house)).unwrap(), sent);
}
