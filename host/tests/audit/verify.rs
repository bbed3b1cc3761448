//! `tidemill verify` on lakes as they should be.

use crate::support::House;

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_as_it_should_be_is_proved() {
    let house = House::with(3).await;
    let ran = house.tidemill(&["verify"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[0], "4 records: 120 events of 2 partitions in 15 files of 3 tables, 5 hours");
    assert_eq!(lines.iter().filter(|line| line.starts_with("proved: ")).count(), 7, "{}", ran.out);
    assert!(ran.out.contains("proved: each of the 120 events"), "{}", ran.out);
    assert_eq!(house.tidemill(&["verify"]).out, ran.out, "the same each time");

    let json: serde_json::Value = serde_json::from_str(&house.tidemill(&["verify", "--json"]).out).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(
        (json["records"].as_u64(), json["events"].as_u64(), json["files"].as_u64()),
        (Some(4), Some(120), Some(15))
    );
    assert_eq!(json["findings"].as_array().map(Vec::len), Some(0));
}
