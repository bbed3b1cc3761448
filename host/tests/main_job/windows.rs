//! Windows that close because time goes on, not because events come.

use std::fs;
use std::time::Duration;

use super::support::{House, directory, live, log};

fn event(user: &str, time: &str) -> String {
    format!(
        r#"{{"user_id":"{user}","event_type":"click","timestamp":"2025-12-02T{time}Z","session_id":"s","page":"/"}}"#
    )
}

#[test]
fn a_quiet_partition_goes_on_by_the_clock() {
    let house = House::new("quiet");
    let folder = directory(&["clean", "sessions"]);
    fs::write(folder.path().join("sessions.toml"), "[event-time]\nlateness = '0s'\nidle = '1s'\n").unwrap();
    let host = house.begin(folder.path(), &[]);
    // One of each in each partition. The first session ends half an hour after 10:00: two seconds after the second.
    let (first, second) = (event("first", "10:00:00"), event("second", "10:29:58"));
    house.send(&[Some(first.as_str()); 3]);
    house.send(&[Some(second.as_str()); 3]);
    host.wait("the events are committed", |now| now.events == 6);
    host.wait("the first sessions end", |now| now.rows.get("user_sessions") == Some(&3));
    let records = log(&house, "quiet");
    let empty = |record: &String| record.contains(r#""events":0"#) && record.contains(r#""kind":"epoch""#);
    assert!(records.iter().any(empty), "{records:#?}");
    // Nothing is due for half an hour: that is no reason for records.
    let before = log(&house, "quiet").len();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(log(&house, "quiet").len(), before);
    // The file is away for a moment: what is open stays, as long as no record says that it is gone.
    let away = folder.path().join("away");
    fs::rename(folder.path().join("sessions.wasm"), &away).unwrap();
    host.until("it is away", |now| live(now, &["clean"]));
    fs::rename(&away, folder.path().join("sessions.wasm")).unwrap();
    host.until("it is back", |now| live(now, &["clean", "sessions"]));
    // What is open goes on with the events that come.
    let third = event("third", "11:30:00");
    house.send(&[Some(third.as_str()); 3]);
    host.wait("the second sessions end", |now| now.rows.get("user_sessions") == Some(&6));
    host.stop(Duration::from_secs(20)).unwrap();
    let verified = house.tidemill(&["verify", "--topic", "user-events"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}
