//! The same on S3, where what waits is a multipart upload.

use tidemill::env::machine;
use tidemill::sink::Publish;

use crate::support::{House, found, keys};

const WITHOUT: &[&str] = &["--catalog", "none"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3: TIDEMILL_TEST_S3=<bucket>, with the AWS settings of the server in the environment"]
async fn a_lake_on_s3_is_proved_and_cleaned() {
    let bucket = std::env::var("TIDEMILL_TEST_S3").unwrap();
    let mut house = House::on_s3(&format!("s3://{bucket}/audit-{}", machine().fresh_id())).await;
    for _ in 0..2 {
        let epoch = house.epoch();
        house.commit(epoch).await;
    }
    assert_eq!(found(&house, WITHOUT), []);

    let (dead, epoch) = (house.epoch(), house.epoch());
    house.stage(&dead).await;
    let files = house.stage(&epoch).await;
    let record = house.write(epoch, files).await;
    let kinds: Vec<String> = found(&house, WITHOUT).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, vec!["unpublished"; 5]);

    let ran = house.tidemill(&["gc", "--older-than", "0s", "--apply", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let left = json["leftovers"].as_array().unwrap();
    assert_eq!(left.len(), 5, "{left:#?}");
    assert!(left.iter().all(|left| left["kind"] == "upload" && left["epoch"] == dead.id), "{left:#?}");
    house.log.roll_forward(None).await.unwrap();
    assert_eq!(found(&house, WITHOUT), []);

    // A file that vanished is told from one that waits.
    let epoch = house.epoch();
    let files = house.stage(&epoch).await;
    let lost = files[0].clone();
    house.write(epoch, files).await;
    house.stores.discard(&lost.file).await.unwrap();
    let kinds: Vec<String> = found(&house, WITHOUT).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "missing").count(), 1, "{kinds:?}");
    assert!(matches!(record.files[0].file.how, Publish::Upload { .. }));

    // A hole, found by what comes after it.
    house.stores.processed.clear(&keys().record(1), None, None).await.unwrap();
    let found = found(&house, WITHOUT);
    assert!(found[0].0 == "hole" && found[0].1.starts_with("record 1 is missing"), "{found:#?}");
}
