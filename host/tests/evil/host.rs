//! The evil guest in a whole host, beside the shipped transforms: broker, lanes, lake.

use std::path::Path;
use std::time::Duration;

use super::house::{House, clean_rows, events_per_minute, transforms};
use super::support::{LONG, told};

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
