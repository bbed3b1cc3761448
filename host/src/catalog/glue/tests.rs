//! Glue against nobody, and against a moto server.

use std::time::Instant;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;

use super::*;
use crate::catalog::conformance::{Probe, conforms, spec};
use crate::env::machine;

pub(super) fn sdk(endpoint: &str) -> SdkConfig {
    let keys = Credentials::new("made", "up", None, None, "tests");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .build()
}

#[async_trait]
impl Probe for Glue {
    async fn columns(&self, table: &str) -> Vec<(String, String)> {
        let found = self.client.get_table().database_name(&self.database).name(table).send().await;
        let table = found.expect("there").table.expect("there");
        let storage = table.storage_descriptor().expect("described");
        assert!(storage.serde_info().and_then(|info| info.serialization_library()).is_some());
        assert_eq!(table.table_type(), Some("EXTERNAL_TABLE"));
        let column =
            |column: &aws::Column| (column.name().to_owned(), column.r#type().unwrap_or_default().to_owned());
        storage.columns().iter().map(column).collect()
    }

    async fn locations(&self, table: &str) -> Vec<String> {
        let pages = self.client.get_partitions().database_name(&self.database).table_name(table);
        let pages = pages.into_paginator().send().collect::<Result<Vec<_>, _>>().await.expect("listed");
        let location = |partition: &aws::Partition| {
            let storage = partition.storage_descriptor().expect("described");
            storage.location().expect("placed").to_owned()
        };
        pages.iter().flat_map(|page| page.partitions()).map(location).collect()
    }
}

#[tokio::test]
async fn an_outage_is_an_error_within_ten_seconds() {
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = deaf.local_addr().expect("an address");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    for endpoint in [address, free] {
        let glue = Glue::with(&sdk(&format!("http://{endpoint}")), None, "db", None);
        let begin = Instant::now();
        let error = glue.ensure(&[spec("t", &[], "s3://b/t")]).await.expect_err("an outage");
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        assert_eq!(error.kind(), crate::Kind::Retry);
        assert!(error.to_string().contains(&endpoint.to_string()), "{error}");
    }
}

#[tokio::test]
#[ignore = "needs a Glue: TIDEMILL_TEST_GLUE=<address of a moto server>"]
async fn it_conforms() {
    let sdk = sdk(&std::env::var("TIDEMILL_TEST_GLUE").expect("TIDEMILL_TEST_GLUE is an address"));
    let database = format!("test_{}", machine().fresh_id());
    let host = || Glue::with(&sdk, None, &database, None);
    conforms(&host(), &host(), &host(), "s3://lake").await;
}

#[tokio::test]
#[ignore = "needs a Glue: TIDEMILL_TEST_GLUE=<address of a moto server>"]
async fn a_partition_that_lies_elsewhere_is_put_right_and_what_others_set_stays() {
    let sdk = sdk(&std::env::var("TIDEMILL_TEST_GLUE").expect("TIDEMILL_TEST_GLUE is an address"));
    let glue = Glue::with(&sdk, None, &format!("test_{}", machine().fresh_id()), None);
    let table = spec("t", &[], "s3://lake/t");
    glue.ensure(std::slice::from_ref(&table)).await.expect("a new table");
    let wrong = TableSpec { location: "s3://lake/_gen/1/t".into(), ..table.clone() };
    glue.register(&wrong, &[Hour(1).into(), Hour(2).into()]).await.expect("new hours");
    let other = Glue::with(&sdk, None, &glue.database, None);
    other.register(&table, &[Hour(1).into(), Hour(3).into()]).await.expect("put right");
    let mut found = glue.locations("t").await;
    found.sort();
    assert_eq!(found, [wrong.partition(Hour(2)), table.partition(Hour(1)), table.partition(Hour(3))]);

    let get = || async {
        let found = glue.client.get_table().database_name(&glue.database).name("t").send().await;
        found.expect("there").table.expect("there")
    };
    let mut all = get().await.parameters().cloned().expect("some");
    all.insert("owned-by".into(), "somebody".into());
    let input = aws::TableInput::builder()
        .name("t")
        .set_parameters(Some(all))
        .set_partition_keys(get().await.partition_keys);
    let input = input.set_storage_descriptor(get().await.storage_descriptor).build().expect("named");
    glue.update_table("t", input, None).await.expect("changed by hand");
    let wider = spec("t", &[("n", arrow::datatypes::DataType::Int64)], "s3://lake/t");
    glue.ensure(&[wider]).await.expect("a column more");
    assert_eq!(
        get().await.parameters().and_then(|all| all.get("owned-by")).map(String::as_str),
        Some("somebody")
    );
    assert_eq!(glue.columns("t").await.len(), 2);
}

/// What Glue's crawler writes for Parquet and what Spark's client needs to read it: see docs/glue.md.
#[test]
fn definitions_are_what_crawlers_write() {
    let table = spec("t", &[("key", arrow::datatypes::DataType::Binary)], "s3://lake/t");
    let columns = columns(&table.table).expect("columns");
    let input = define::table(&table, &columns).expect("a table");
    let partition = define::partition(&table, &columns, Hour(490_000).into()).expect("a partition");
    assert_eq!((input.table_type(), input.retention()), (Some("EXTERNAL_TABLE"), 0));
    let parameters = input.parameters().expect("parameters");
    for (key, value) in [("classification", "parquet"), ("EXTERNAL", "TRUE"), ("typeOfData", "file")] {
        assert_eq!(parameters.get(key).map(String::as_str), Some(value), "{key}");
    }
    let keys: Vec<_> = input.partition_keys().iter().map(|key| (key.name(), key.r#type())).collect();
    assert_eq!(keys, [("date", Some("string")), ("hour", Some("string"))]);
    assert_eq!(partition.values(), ["2025-11-24", "16"]);
    for (what, storage, parameters, location) in [
        ("table", input.storage_descriptor(), input.parameters(), "s3://lake/t"),
        (
            "partition",
            partition.storage_descriptor(),
            partition.parameters(),
            "s3://lake/t/date=2025-11-24/hour=16",
        ),
    ] {
        let storage = storage.expect(what);
        assert_eq!(parameters.and_then(|all| all.get("classification")).map(String::as_str), Some("parquet"));
        assert_eq!(
            storage.parameters().and_then(|all| all.get("classification")).map(String::as_str),
            Some("parquet")
        );
        assert_eq!(storage.location(), Some(location));
        // Without these Spark's client of Glue ends with a null pointer.
        assert_eq!((storage.number_of_buckets(), storage.compressed()), (-1, false), "{what}");
        assert!(!storage.stored_as_sub_directories() && storage.bucket_columns().is_empty());
        let serde = storage.serde_info().expect("a serde");
        let library = serde.serialization_library().expect("a library");
        assert!(library.ends_with(".ParquetHiveSerDe"), "{library}");
        assert_eq!(
            serde.parameters().and_then(|all| all.get("serialization.format")).map(String::as_str),
            Some("1")
        );
        assert!(storage.input_format().is_some_and(|name| name.ends_with(".MapredParquetInputFormat")));
        assert!(storage.output_format().is_some_and(|name| name.ends_with(".MapredParquetOutputFormat")));
        let kinds: Vec<_> = storage.columns().iter().map(|column| (column.name(), column.r#type())).collect();
        assert_eq!(kinds, [("timestamp", Some("timestamp")), ("key", Some("binary"))], "{what}");
    }
}

#[test]
fn projection_is_written_switched_off_and_left_alone() {
    use crate::catalog::Projection;
    let nothing = std::collections::HashMap::new();
    let spec = |projection| TableSpec { projection, ..spec("t", &[], "s3://lake/raw/t") };
    let on = define::parameters(&spec(Some(Projection::Days(90))), &nothing);
    for (key, value) in [
        ("projection.enabled", "true"),
        ("projection.date.type", "date"),
        ("projection.date.format", "yyyy-MM-dd"),
        ("projection.date.range", "NOW-90DAYS,NOW+1DAYS"),
        ("projection.date.interval", "1"),
        ("projection.date.interval.unit", "DAYS"),
        ("projection.hour.type", "integer"),
        ("projection.hour.range", "0,23"),
        ("projection.hour.digits", "2"),
        ("storage.location.template", "s3://lake/raw/t/date=${date}/hour=${hour}/"),
    ] {
        assert_eq!(on.get(key).map(String::as_str), Some(value), "{key}");
    }
    // The template's places are those of partitions.
    let template = on["storage.location.template"].replace("${date}", "2025-11-24").replace("${hour}", "16");
    assert_eq!(template.trim_end_matches('/'), spec(None).partition(Hour(490_000)));
    let ours = |projection, old| {
        let all = define::parameters(&spec(projection), old);
        all.into_iter().filter(|(key, _)| key.contains("projection")).collect::<Vec<_>>()
    };
    assert_eq!(ours(None, &on), []);
    assert_eq!(ours(Some(Projection::Off), &nothing), []);
    assert_eq!(ours(Some(Projection::Off), &on), [("projection.enabled".to_owned(), "false".to_owned())]);
}
