//! What becomes of Glue's refusals, races and half answers.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::fake::{Fake, done, error};
use super::tests::sdk;
use super::*;
use crate::catalog::conformance::spec;

fn host(fake: &Fake) -> Glue {
    Glue::with(&sdk(&fake.url), None, "db", None)
}

/// A table as Glue shows it.
fn shown(name: &str, version: &str) -> Value {
    let string = |name: &str| json!({"Name": name, "Type": "string"});
    json!({"Table": {
        "Name": name, "VersionId": version, "TableType": "EXTERNAL_TABLE", "Parameters": {"of": "others"},
        "PartitionKeys": [string("date"), string("hour")],
        "StorageDescriptor": {"Location": format!("s3://lake/{name}"), "Columns": []},
    }})
}

#[tokio::test]
async fn a_missing_permission_is_named_with_its_action_and_resource() {
    for (denied, resource) in [
        ("GetDatabase", "database/db"),
        ("CreateDatabase", "database/db"),
        ("GetTable", "table/db/t"),
        ("CreateTable", "table/db/t"),
        ("UpdateTable", "table/db/t"),
        ("BatchCreatePartition", "table/db/t"),
        ("BatchGetPartition", "table/db/t"),
        ("UpdatePartition", "table/db/t"),
        ("GetPartitions", "table/db/t"),
    ] {
        let fake = Fake::start(0, move |action, _, _| match action {
            _ if action == denied => error("AccessDeniedException", "no policy allows it"),
            "GetDatabase" if denied == "CreateDatabase" => error(MISSING, "no database"),
            "GetTable" if denied == "CreateTable" => error(MISSING, "no table"),
            "GetTable" if denied == "UpdateTable" => (200, shown("t", "1")),
            "GetTable" => {
                let mut there = shown("t", "1");
                let all = define::parameters(&spec("t", &[], "s3://lake/t"), &HashMap::new());
                there["Table"]["Parameters"] = json!(all);
                there["Table"]["StorageDescriptor"]["Columns"] =
                    json!([{"Name": "timestamp", "Type": "timestamp"}]);
                (200, there)
            }
            "BatchCreatePartition" => {
                let detail = json!({"ErrorCode": PRESENT, "ErrorMessage": "it is"});
                (200, json!({"Errors": [{"PartitionValues": ["1970-01-01", "01"], "ErrorDetail": detail}]}))
            }
            "BatchGetPartition" => {
                let elsewhere =
                    json!({"Values": ["1970-01-01", "01"], "StorageDescriptor": {"Location": "s3://x"}});
                (200, json!({"Partitions": [elsewhere]}))
            }
            _ => done(),
        })
        .await;
        let (glue, table) = (host(&fake), spec("t", &[], "s3://lake/t"));
        let all = async {
            glue.ensure(std::slice::from_ref(&table)).await?;
            glue.register(&table, &[Hour(1).into()]).await?;
            glue.partitions("t").await.map(drop)
        };
        let error = all.await.expect_err(denied);
        let text = error.to_string();
        println!("{text}");
        assert_eq!(error.kind(), Kind::Stop, "{text}");
        let resource = format!("arn:aws:glue:us-east-1:*:{resource}");
        for part in [&format!("allow glue:{denied} on {resource}"), "no policy allows it", "setting"] {
            assert!(text.contains(part), "{text} lacks {part}");
        }
    }
}

#[tokio::test]
async fn a_busy_service_is_asked_again_and_then_left_for_later() {
    for busy in [
        "ThrottlingException",
        "InternalServiceException",
        "OperationTimeoutException",
        "ConcurrentModificationException",
        "ResourceNotReadyException",
    ] {
        let fake = Fake::start(0, move |_, _, _| error(busy, "Rate exceeded")).await;
        let failed = host(&fake).ensure(&[spec("t", &[], "s3://lake/t")]).await.expect_err(busy);
        assert_eq!(failed.kind(), Kind::Retry, "{failed}");
        assert!(failed.to_string().contains(busy), "{failed}");
        let asked = fake.asked("GetDatabase").len();
        println!("{busy}: asked {asked} times");
        assert!((1..=3).contains(&asked));
        if busy.starts_with("Throttling") || busy.starts_with("Internal") {
            assert_eq!(asked, 3);
        }
    }
    let fake = Fake::start(0, |_, _, _| error("ResourceNumberLimitExceededException", "too many")).await;
    let failed = host(&fake).ensure(&[spec("t", &[], "s3://lake/t")]).await.expect_err("a quota");
    assert!(failed.kind() == Kind::Stop && failed.to_string().contains("raise it"), "{failed}");
}

#[tokio::test]
async fn one_partition_that_is_refused_holds_up_no_other_and_is_asked_for_alone() {
    let fake = Fake::start(0, |_, sent, before| {
        let of = |values: &str, code: &str| {
            let detail = json!({"ErrorCode": code, "ErrorMessage": "because"});
            json!({"PartitionValues": ["1970-01-01", values], "ErrorDetail": detail})
        };
        assert_eq!(sent["TableName"], "t");
        match before {
            0 => (
                200,
                json!({"Errors": [of("02", "InternalServiceException"), of("03", "InvalidInputException")]}),
            ),
            _ => done(),
        }
    })
    .await;
    let (glue, table) = (host(&fake), spec("t", &[], "s3://lake/t"));
    let hours: Vec<Place> = (1..=4).map(|hour| Hour(hour).into()).collect();
    let error = glue.register(&table, &hours).await.expect_err("two are refused");
    let text = error.to_string();
    assert!(
        error.kind() == Kind::Stop && text.contains("1970-01-01/03") && text.contains("because"),
        "{text}"
    );
    glue.register(&table, &hours).await.expect("the rest");
    glue.register(&table, &hours).await.expect("nothing");
    let asked = fake.asked("BatchCreatePartition");
    let values = |n: usize| -> Vec<Value> {
        let inputs = asked[n]["PartitionInputList"].as_array().expect("a list");
        inputs.iter().map(|input| input["Values"][1].clone()).collect()
    };
    assert_eq!(asked.len(), 2);
    assert_eq!(values(0), ["01", "02", "03", "04"]);
    assert_eq!(values(1), ["02", "03"]);
}

#[tokio::test]
async fn partitions_that_glue_had_no_time_to_show_are_no_success() {
    let fake = Fake::start(0, |action, _, _| match action {
        "BatchCreatePartition" => {
            let detail = json!({"ErrorCode": PRESENT, "ErrorMessage": "it is"});
            (200, json!({"Errors": [{"PartitionValues": ["1970-01-01", "01"], "ErrorDetail": detail}]}))
        }
        _ => (200, json!({"Partitions": [], "UnprocessedKeys": [{"Values": ["1970-01-01", "01"]}]})),
    })
    .await;
    let (glue, table) = (host(&fake), spec("t", &[], "s3://lake/t"));
    for _ in 0..2 {
        let error = glue.register(&table, &[Hour(1).into()]).await.expect_err("nobody saw where it lies");
        assert!(error.kind() == Kind::Retry && error.to_string().contains("1970-01-01/01"), "{error}");
    }
}

#[tokio::test]
async fn a_table_that_is_dropped_under_way_is_made_again_with_its_database() {
    // How often each was asked before: there, dropped with its database, made again.
    let fake = Fake::start(0, |action, _, before| match (action, before) {
        ("BatchCreatePartition" | "GetTable" | "GetDatabase", 1)
        | ("CreateTable", 0)
        | ("GetDatabase", 2) => error(MISSING, "nothing there"),
        ("GetTable", 2) => error(MISSING, "nothing there"),
        ("GetTable", _) => {
            let mut there = shown("t", "1");
            let all = define::parameters(&spec("t", &[], "s3://lake/t"), &HashMap::new());
            there["Table"]["Parameters"] = json!(all);
            there["Table"]["StorageDescriptor"]["Columns"] =
                json!([{"Name": "timestamp", "Type": "timestamp"}]);
            (200, there)
        }
        _ => done(),
    })
    .await;
    let (glue, table) = (host(&fake), spec("t", &[], "s3://lake/t"));
    glue.ensure(std::slice::from_ref(&table)).await.expect("the table is there");
    glue.register(&table, &[Hour(1).into()]).await.expect("the table is there");
    glue.register(&table, &[Hour(2).into()]).await.expect("it is made again");
    // The database went once more between the look for it and the making of the table.
    assert_eq!(fake.asked("CreateDatabase").len(), 2);
    assert_eq!(fake.asked("CreateTable").len(), 2);
    assert_eq!(fake.asked("BatchCreatePartition").len(), 3);
    // What was registered in the old table is not in the new one.
    glue.register(&table, &[Hour(1).into(), Hour(2).into()]).await.expect("again");
    let last = fake.asked("BatchCreatePartition").pop().expect("asked");
    assert_eq!(last["PartitionInputList"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_change_that_races_is_looked_at_again_and_leaves_no_versions_behind() {
    let fake = Fake::start(0, |action, _, before| match (action, before) {
        ("GetTable", n) => (200, shown("t", &(n + 7).to_string())),
        ("UpdateTable", _) => error(RACED, "others were faster"),
        _ => done(),
    })
    .await;
    let failed = host(&fake).ensure(&[spec("t", &[], "s3://lake/t")]).await.expect_err("others always win");
    assert!(failed.kind() == Kind::Retry && failed.to_string().contains("`db.t`"), "{failed}");
    let asked = fake.asked("UpdateTable");
    assert_eq!(asked.len(), TRIES);
    for (n, update) in asked.iter().enumerate() {
        assert_eq!(
            (&update["SkipArchive"], &update["VersionId"]),
            (&json!(true), &json!((n + 7).to_string()))
        );
        assert_eq!(update["TableInput"]["Parameters"]["of"], "others");
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named_and_no_reason_to_stop() {
    for (code, message) in [
        ("RequestTimeTooSkewed", "too far apart"),
        (
            "InvalidSignatureException",
            "Signature expired: 20260101T000000Z is now earlier than 20260101T002000Z",
        ),
    ] {
        let fake = Fake::start(0, move |_, _, _| error(code, message)).await;
        let failed = host(&fake).ensure(&[spec("t", &[], "s3://lake/t")]).await.expect_err(code);
        assert!(failed.kind() == Kind::Retry && failed.to_string().contains("clock"), "{failed}");
    }
    let fake = Fake::start(0, |_, _, _| error("InvalidSignatureException", "the secret is another")).await;
    let failed = host(&fake).ensure(&[spec("t", &[], "s3://lake/t")]).await.expect_err("wrong keys");
    assert!(failed.kind() == Kind::Stop && failed.to_string().contains("credentials"), "{failed}");
}

/// The SDK signs anew with the time that Glue tells.
#[tokio::test]
async fn a_clock_that_is_wrong_by_minutes_does_not_keep_glue_away() {
    let fake = Fake::start(1_200, |action, _, before| match (action, before) {
        ("GetDatabase", 0) => error("InvalidSignatureException", "Signature expired"),
        ("GetTable", _) => error("InternalServiceException", "the end"),
        _ => done(),
    })
    .await;
    let failed = host(&fake).ensure(&[spec("t", &[], "s3://lake/t")]).await.expect_err("the end");
    assert!(failed.to_string().contains("the end"), "{failed}");
    assert_eq!(fake.asked("GetDatabase").len(), 2);
}
