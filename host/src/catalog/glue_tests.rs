//! Glue against nobody, and against a moto server.

use std::time::Instant;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;

use super::*;
use crate::catalog::conformance::{Probe, conforms, spec};
use crate::env::machine;

fn sdk(endpoint: &str) -> SdkConfig {
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
        let glue = Glue::new(&sdk(&format!("http://{endpoint}")), "db", None);
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
    let host = || Glue::new(&sdk, &database, None);
    conforms(&host(), &host(), &host(), "s3://lake").await;
}

#[tokio::test]
#[ignore = "needs a Glue: TIDEMILL_TEST_GLUE=<address of a moto server>"]
async fn a_partition_that_lies_elsewhere_is_put_right_and_what_others_set_stays() {
    let sdk = sdk(&std::env::var("TIDEMILL_TEST_GLUE").expect("TIDEMILL_TEST_GLUE is an address"));
    let glue = Glue::new(&sdk, &format!("test_{}", machine().fresh_id()), None);
    let table = spec("t", &[], "s3://lake/t");
    glue.ensure(std::slice::from_ref(&table)).await.expect("a new table");
    let wrong = TableSpec { location: "s3://lake/_gen/1/t".into(), ..table.clone() };
    glue.register(&wrong, &[Hour(1), Hour(2)]).await.expect("new hours");
    let other = Glue::new(&sdk, &glue.database, None);
    other.register(&table, &[Hour(1), Hour(3)]).await.expect("put right");
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
