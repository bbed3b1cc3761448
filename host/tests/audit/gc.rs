//! `tidemill gc`

use std::fs;

use tidemill::commit::Memory;
use tidemill::table::Zone;

use crate::support::{House, finds, found, tree};

/// Files in staging, of both zones.
fn staged(house: &House) -> usize {
    tree(house.root()).iter().filter(|path| path.contains("/staging/") && path.ends_with(".parquet")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_listed_and_then_removed() {
    let mut house = House::with(2).await;
    let dead = house.epoch();
    house.stage(&dead).await;
    let memory = Memory { transform: "clean".into(), version: 1, bytes: b"state".into() };
    let state = house.log.store_state(&dead.id, 0, &memory).await.unwrap();
    let other = house.path(Zone::Raw, "_tidemill/other/staging");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join(format!("other-{}-0-0.parquet", dead.id)), "theirs").unwrap();
    // True, but not published yet.
    let epoch = house.epoch();
    let files = house.stage(&epoch).await;
    house.write(epoch, files).await;
    assert_eq!(staged(&house), 11);

    assert_eq!(house.tidemill(&["gc"]).out, "there is nothing to remove\n", "nothing is a day old");
    let ran = house.tidemill(&["gc", "--older-than", "0s"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert_eq!(ran.out.lines().filter(|line| line.contains(&dead.id)).count(), 6, "{}", ran.out);
    assert!(
        ran.out.ends_with("nothing was removed; to remove these 6: tidemill gc --apply\n"),
        "{}",
        ran.out
    );
    assert_eq!(staged(&house), 11);

    let ran = house.tidemill(&["gc", "--older-than", "0s", "--apply", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.starts_with("warning: epochs that running hosts"), "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((json["removed"].as_bool(), json["records"].to_string().as_str()), (Some(true), "[4]"));
    let kinds = json["leftovers"].as_array().unwrap().iter().map(|left| left["kind"].as_str().unwrap());
    assert_eq!(kinds.filter(|kind| *kind == "staging").count(), 5);
    assert_eq!(staged(&house), 6, "what is true and what is another pipeline's stays");
    assert!(!house.path(Zone::Processed, &state.key).exists());
    assert_eq!(house.tidemill(&["gc", "--older-than", "0s", "--apply"]).out, "there is nothing to remove\n");

    let kinds: Vec<String> = found(&house, &[]).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, vec!["unpublished"; 5]);
    house.log.roll_forward(None).await.unwrap();
    finds(&house, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_gone_is_no_reason_to_remove_anything() {
    let house = House::with(1).await;
    let dead = house.epoch();
    house.stage(&dead).await;
    fs::remove_dir_all(house.path(Zone::Processed, "_tidemill/tests/log")).unwrap();
    for arguments in [&["gc", "--older-than", "0s"][..], &["gc", "--older-than", "0s", "--apply"]] {
        let ran = house.tidemill(arguments);
        assert!(ran.code == 1 && ran.err.contains("there is no record in"), "{ran:?}");
    }
    assert_eq!(staged(&house), 5);
    assert!(!house.path(Zone::Processed, "_tidemill/tests/log").exists(), "no record was made");
}
