//! `tidemill rejects`

use crate::support::House;

fn json(house: &House, arguments: &[&str]) -> serde_json::Value {
    let ran = house.tidemill(&[&["rejects", "--json"], arguments].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_events_are_counted_by_reason_and_shown() {
    let mut house = House::with(2).await;
    // Beyond a summary, the lists of files lie elsewhere.
    house.idle(100).await;
    let epoch = house.epoch();
    house.commit(epoch).await;
    let all = json(&house, &["--samples", "2"]);
    assert_eq!((&all["rows"], &all["files"], &all["unseen"]), (&24.into(), &3.into(), &0.into()), "{all}");
    let groups = all["reasons"].as_array().unwrap();
    assert_eq!(groups.len(), 2);
    for group in groups {
        assert_eq!(group["rows"], 12, "{group}");
        assert_eq!((&group["reason"], group["partitions"].to_string()), (&"because".into(), "[0,1]".into()));
        assert_eq!(group["samples"].as_array().unwrap().len(), 2);
        assert_eq!((&group["samples"][0]["value"], &group["samples"][0]["key"]), (&"{}".into(), &().into()));
    }
    let refused = json(&house, &["--transform", "clean"]);
    assert_eq!(refused["reasons"][0]["samples"].to_string(), "[]");
    assert_eq!((&refused["rows"], &refused["reasons"][0]["version"]), (&12.into(), &"1".into()), "{refused}");
    assert_eq!(json(&house, &["--date", "2025-12-02"])["rows"], 24);
    for nothing in [["--date", "2025-12-03"], ["--reason", "why"], ["--since", "24h"]] {
        assert_eq!(json(&house, &nothing)["rows"], 0, "{nothing:?}");
    }
    assert_eq!(json(&house, &["--reason", "caus"])["rows"], 24);

    let ran = house.tidemill(&["rejects", "--samples", "1"]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!((ran.code, lines.len()), (0, 6), "{}", ran.out);
    assert!(lines[1].trim_start().starts_with("12  "), "{}", ran.out);
    assert!(lines[2].contains("0:3  ") || lines[2].contains("0:7  "), "{}", ran.out);
    assert_eq!(lines[5], "24 rejected events, 2 reasons, 3 files");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_rejected_is_no_error_and_wrong_usage_is() {
    let mut house = House::new().await;
    let ran = house.tidemill(&["rejects"]);
    assert!(ran.code == 0 && ran.out.starts_with("there are no rejected events in file://"), "{ran:?}");
    for wrong in [&["--date", "yesterday"][..], &["--since", "5"], &["--date", "2025-12-02", "--since", "1h"]]
    {
        assert_eq!(house.tidemill(&[&["rejects"], wrong].concat()).code, 2, "{wrong:?}");
    }
    // True, but not visible yet.
    let epoch = house.epoch();
    let files = house.stage(&epoch).await;
    house.write(epoch, files).await;
    let ran = house.tidemill(&["rejects"]);
    assert!(ran.code == 0 && ran.out.contains("not counted: 8 rows"), "{ran:?}");
}
