//! The same on S3: once against nobody, once against a real server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use futures::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tidemill::Kind;
use tidemill::env::machine;
use tidemill::sink::{Aws, EpochWriter, Location, Publish, Settings, Stores, ZoneStore};
use tidemill::table::Zone;

use crate::support::{at, event_rows, events, keys, lane, raw_rows, revised, stage};

fn made_up(endpoint: &str) -> Aws {
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "made", "up", None, None, "tests",
        )))
        .build();
    Aws::new(sdk, None, None)
}

fn zone(zone: Zone, address: &str, aws: &Aws) -> Arc<ZoneStore> {
    let location = Location::parse(address, "raw").expect("an address");
    Arc::new(ZoneStore::open(zone, location, "raw", &keys(), Some(aws), &machine()).expect("settings"))
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_is_an_error_within_ten_seconds() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let store = zone(Zone::Raw, "s3://user-events-raw", &made_up(&format!("http://{free}")));
    let begin = Instant::now();
    let error = store.check().await.expect_err("nobody listens");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(error.kind(), Kind::Retry);
    let text = error.to_string();
    let begins =
        format!("cannot reach s3://user-events-raw at http://{free} (setting `raw`): connection refused");
    assert!(text.starts_with(&begins), "{text}");
}

#[tokio::test]
async fn an_endpoint_that_never_answers_is_an_error_within_ten_seconds() {
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = deaf.local_addr().expect("an address");
    let store = zone(Zone::Raw, "s3://user-events-raw", &made_up(&format!("http://{address}")));
    let begin = Instant::now();
    let error = store.check().await.expect_err("nobody answers");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert!(error.to_string().contains("no answer within 9 s"), "{error}");
}

#[tokio::test]
async fn missing_credentials_are_no_outage() {
    let made_up = made_up("http://127.0.0.1:9");
    #[derive(Debug)]
    struct Nobody;
    impl aws_credential_types::provider::ProvideCredentials for Nobody {
        fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            use aws_credential_types::provider::error::CredentialsError;
            aws_credential_types::provider::future::ProvideCredentials::ready(Err(
                CredentialsError::not_loaded("none"),
            ))
        }
    }
    let nobody = SharedCredentialsProvider::new(Nobody);
    let aws = Aws::new(made_up.sdk.into_builder().credentials_provider(nobody).build(), None, None);
    let error = zone(Zone::Raw, "s3://b", &aws).check().await.expect_err("no credentials").to_string();
    assert!(
        error.starts_with("cannot list s3://b at ") && error.contains("no AWS credentials found"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_to_nobody_costs_the_epoch_and_blocks_no_lane_for_ever() {
    use std::io::Write;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let store = zone(Zone::Raw, "s3://user-events-raw", &made_up(&format!("http://{free}")));
    let begin = Instant::now();
    let (small, large) = lane(move || {
        let stage = |name| store.stage("t", tidemill::table::Hour(0), name).expect("settings");
        let mut small = stage("small.parquet");
        small.write_all(b"a few bytes").expect("held");
        let small =
            small.finish(tidemill::sink::Summary { rows: 1, first: 0, last: 0 }).expect("handed over");
        let mut large = stage("large.parquet");
        let megabyte = vec![0; 1 << 20];
        // More than can be under way: at some point the failure comes back to the writer.
        let written = (0..100).try_for_each(|_| large.write_all(&megabyte));
        (small, written.err().and_then(|_| large.take_failure()))
    })
    .await;
    let small = small.staged().await.expect_err("nobody listens");
    for error in [small, large.expect("nobody listens")] {
        assert_eq!(error.kind(), Kind::Abandon, "{error}");
        assert!(
            error
                .to_string()
                .contains(&format!("to s3://user-events-raw at http://{free}: connection refused")),
            "{error}"
        );
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

/// `TIDEMILL_TEST_S3=<bucket>`, with the AWS settings of the server in the environment.
fn real() -> (String, AmazonS3) {
    let bucket = std::env::var("TIDEMILL_TEST_S3").expect("TIDEMILL_TEST_S3 names a bucket");
    let endpoint = endpoint();
    let store = AmazonS3Builder::from_env().with_bucket_name(&bucket).with_region("us-east-1");
    (bucket, store.with_endpoint(endpoint).with_allow_http(true).build().expect("settings"))
}

fn endpoint() -> String {
    let own = std::env::var("AWS_ENDPOINT_URL_S3").or_else(|_| std::env::var("AWS_ENDPOINT_URL"));
    own.expect("AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL names the server")
}

async fn objects(store: &AmazonS3, under: &str) -> Vec<(String, u64)> {
    let mut listed = store.list(Some(&Path::from(under)));
    let mut found = Vec::new();
    while let Some(meta) = listed.next().await {
        let meta = meta.expect("it can be listed");
        found.push((meta.location.to_string(), meta.size));
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real S3 server: TIDEMILL_TEST_S3=<bucket> and AWS settings"]
async fn on_a_real_server_a_file_is_invisible_until_it_is_published() -> tidemill::Result<()> {
    let (bucket, reader) = real();
    let run = machine().now().to_string();
    let aws = Aws::load(None).await;
    let address = format!("s3://{bucket}/{run}");
    let stores =
        Stores { raw: zone(Zone::Raw, &address, &aws), processed: zone(Zone::Processed, &address, &aws) };
    stores.check().await?;

    let table = events();
    let files = stage(&stores, "e1", vec![raw_rows(), event_rows(&table, 0, &[at(0, 0), at(1, 0)])]).await;
    assert_eq!(files.len(), 3);
    assert_eq!(objects(&reader, &run).await, []);
    for _ in 0..2 {
        for file in &files {
            stores.publish(file).await?;
        }
        let mut wanted: Vec<_> =
            files.iter().map(|file| (format!("{run}/{}", file.key), file.bytes)).collect();
        wanted.sort();
        assert_eq!(objects(&reader, &run).await, wanted);
    }
    let bytes = reader.get(&Path::from(format!("{run}/{}", files[0].key))).await.expect("published");
    let bytes = bytes.bytes().await.expect("published");
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    for file in &files {
        stores.discard(file).await?;
        stores.remove(file).await?;
        assert_eq!(stores.publish(file).await.expect_err("removed").kind(), Kind::Abandon);
    }
    assert_eq!(objects(&reader, &run).await, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real S3 server: TIDEMILL_TEST_S3=<bucket> and AWS settings"]
async fn on_a_real_server_a_large_file_goes_in_parts_and_can_be_given_up() -> tidemill::Result<()> {
    use std::io::Write;
    let (bucket, reader) = real();
    let run = machine().now().to_string();
    let aws = Aws::load(None).await;
    let store = zone(Zone::Raw, &format!("s3://{bucket}/{run}"), &aws);
    let to = Arc::clone(&store);
    // Two full parts exactly, and two with a rest.
    let files = lane(move || {
        let mut files = Vec::new();
        for (n, size) in [(0, 16 << 20), (1, 20 << 20)] {
            let bytes: Vec<u8> =
                (0..size).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let mut file =
                to.stage("t", tidemill::table::Hour(0), &format!("e-0-{n}.parquet")).expect("settings");
            file.write_all(&bytes).expect("uploaded");
            assert!(file.held() < 8 << 20);
            let summary = tidemill::sink::Summary { rows: 1, first: 0, last: 0 };
            files.push((bytes, file.finish(summary).expect("uploaded")));
        }
        let mut half = to.stage("t", tidemill::table::Hour(0), "half.parquet").expect("settings");
        half.write_all(&vec![1; 9 << 20]).expect("uploaded");
        files
    });
    for ((bytes, file), parts) in files.await.into_iter().zip([2, 3]) {
        let file = file.staged().await?;
        assert!(matches!(&file.how, Publish::Upload { parts: sent, .. } if sent.len() == parts));
        store.publish(&file).await?;
        let path = Path::from(format!("{run}/{}", file.key));
        let found = reader.get(&path).await.expect("published").bytes().await.expect("published");
        assert_eq!(found, bytes);
        store.remove(&file).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real S3 server: TIDEMILL_TEST_S3=<bucket> and AWS settings"]
async fn on_a_real_server_an_abandoned_epoch_leaves_nothing() {
    let (bucket, reader) = real();
    let run = machine().now().to_string();
    let aws = Aws::load(None).await;
    let store = zone(Zone::Processed, &format!("s3://{bucket}/{run}"), &aws);
    let stores = Stores { raw: Arc::clone(&store), processed: store };
    let mut writer = lane(move || {
        let mut writer =
            EpochWriter::new(stores, &keys(), 0, Settings { open_files: 1, ..Settings::default() });
        writer.begin("e1", Vec::new());
        writer.write(&event_rows(&events(), 0, &[at(0, 0), at(1, 0)])).expect("good rows");
        writer
    })
    .await;
    writer.abandon().await.expect("no panic");
    assert_eq!(objects(&reader, &run).await, []);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real S3 server: TIDEMILL_TEST_S3=<bucket> and AWS settings"]
async fn on_a_real_server_a_missing_bucket_and_wrong_keys_are_told_apart() {
    let (bucket, _) = real();
    let missing = zone(Zone::Raw, "s3://no-such-bucket-anywhere", &Aws::load(None).await);
    let error = missing.check().await.expect_err("no such bucket");
    assert_eq!(error.kind(), Kind::Stop, "{error}");
    assert!(error.to_string().contains("does not exist"), "{error}");
    let denied = zone(Zone::Raw, &format!("s3://{bucket}"), &made_up(&endpoint()));
    let error = denied.check().await.expect_err("made-up keys");
    assert_eq!(error.kind(), Kind::Stop, "{error}");
    assert!(error.to_string().contains("access denied"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a real S3 server: TIDEMILL_TEST_S3=<bucket> and AWS settings"]
async fn on_a_real_server_nobody_writes_over_what_it_has_not_seen() {
    let (bucket, _) = real();
    let address = format!("s3://{bucket}/{}", machine().now());
    revised(zone(Zone::Processed, &address, &Aws::load(None).await)).await;
}
