use std::fmt;

use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions,
    PutResult,
};

use super::super::super::report::State;
use super::*;

/// How a store breaks its promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// It takes no notice of `If-None-Match`.
    Ignores,
    /// It says no, and writes.
    Lies,
    /// It looks, and writes a moment later.
    Slow,
    /// It lets nobody write.
    Denies,
}

#[derive(Debug)]
struct Faulty(InMemory, Fault);

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let plain = PutOptions::default();
        let there = self.0.head(path).await.is_ok();
        match self.1 {
            Fault::None => self.0.put_opts(path, payload, options).await,
            Fault::Ignores => self.0.put_opts(path, payload, plain).await,
            Fault::Denies => Err(object_store::Error::PermissionDenied {
                path: path.to_string(),
                source: "<Error><Code>AccessDenied</Code><Message>no</Message></Error>".into(),
            }),
            Fault::Lies if there => {
                self.0.put_opts(path, payload, plain).await?;
                self.0.put_opts(path, PutPayload::new(), options).await
            }
            Fault::Slow if there => self.0.put_opts(path, payload, options).await,
            Fault::Lies => self.0.put_opts(path, payload, options).await,
            Fault::Slow => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                self.0.put_opts(path, payload, plain).await
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.0.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.0.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

/// Write, read, list, create if absent, race, delete: how they end.
async fn steps(fault: Fault) -> Vec<(State, String)> {
    let store = Faulty(InMemory::new(), fault);
    let objects = Objects {
        store: &store,
        root: Path::from("lake/raw"),
        name: "s3://b/lake/raw".into(),
        arn: "arn:aws:s3:::b/lake/raw/*".into(),
        bucket_arn: "arn:aws:s3:::b".into(),
    };
    let all = [
        write(&objects, "f/a").await,
        read(&objects, "f/a").await,
        list(&objects, "f", "f/a").await,
        create_if_absent(&objects, "f/a").await,
        race(&objects, "f/b").await,
        delete(&objects, &["f/a", "f/b"]).await,
    ];
    assert_eq!(store.0.list_with_delimiter(None).await.expect("a list").objects.len(), 0, "nothing is left");
    all.into_iter()
        .map(|step| (step.state, format!("{} → {}", step.found, step.remedy.unwrap_or_default())))
        .collect()
}

#[tokio::test]
async fn a_store_that_keeps_its_promises_passes() {
    for (state, found) in steps(Fault::None).await {
        assert_eq!(state, State::Ok, "{found}");
    }
}

#[tokio::test]
async fn a_store_that_ignores_create_if_absent_is_found_out() {
    for (fault, wrong) in [(Fault::Ignores, vec![3, 4]), (Fault::Lies, vec![3, 4]), (Fault::Slow, vec![4])] {
        let steps = steps(fault).await;
        let failed: Vec<usize> = (0..steps.len()).filter(|at| steps[*at].0 == State::Failed).collect();
        assert_eq!(failed, wrong, "{fault:?}: {steps:?}");
        assert!(steps[wrong[0]].1.contains("conditional writes"), "{steps:?}");
    }
}

#[tokio::test]
async fn a_right_that_is_missing_is_named() {
    let steps = steps(Fault::Denies).await;
    let said = &steps[0].1;
    assert!(said.contains("s3:PutObject is denied") && said.contains("arn:aws:s3:::b/lake/raw/*"), "{said}");
}
