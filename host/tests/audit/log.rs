//! `tidemill log`

use crate::support::House;

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_records_are_a_table_for_people_and_lines_for_programs() {
    let house = House::with(3).await;
    let ran = house.tidemill(&["log"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 5, "{}", ran.out);
    assert!(lines[0].trim_start().starts_with("seq"), "{}", ran.out);
    assert!(lines[1].contains("start") && lines[1].contains("0:0..0 1:0..0"), "{}", ran.out);
    assert!(lines[4].contains("epoch") && lines[4].contains("0:40..60 1:40..60"), "{}", ran.out);
    assert!(!ran.out.contains('\u{1b}'), "no colours");

    let ran = house.tidemill(&["log", "--last", "2", "--json"]);
    let seqs = ran.out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let seqs: Vec<u64> = seqs.map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!((ran.code, seqs), (0, vec![2, 3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_record_is_shown_whole() {
    let house = House::with(1).await;
    let ran = house.tidemill(&["log", "1"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for part in [
        "record 1: epoch",
        "partition 1: offsets 0..20, after record 0",
        "20 events, 2 of them could not be decoded",
        "18 rows in: 16 emitted, 2 rejected",
        "processed  user_events/date=2025-12-02/hour=09/",
    ] {
        assert!(ran.out.contains(part), "{part} is not in\n{}", ran.out);
    }
    let stored =
        std::fs::read_to_string(house.root().join("processed/_tidemill/tests/log/000000000001.json"));
    assert_eq!(house.tidemill(&["log", "1", "--json"]).out, stored.unwrap());

    let ran = house.tidemill(&["log", "7"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("no record 7") && ran.err.contains("records 0 to 1"), "{}", ran.err);
    assert_eq!(house.tidemill(&["log", "1", "--last", "2"]).code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_log_is_no_error() {
    let house = House::new().await;
    let empty = house.root().join("empty").display().to_string();
    for (json, said) in [(false, "nothing was committed yet"), (true, "")] {
        let mut arguments = vec!["log"];
        arguments.extend(json.then_some("--json"));
        let ran = std::process::Command::new(env!("CARGO_BIN_EXE_tidemill"))
            .args(arguments)
            .args(["--raw", &empty, "--processed", &empty])
            .output()
            .unwrap();
        let out = String::from_utf8(ran.stdout).unwrap();
        assert!(ran.status.success() && out.starts_with(said) && out.is_empty() == json, "{out}");
    }
}
