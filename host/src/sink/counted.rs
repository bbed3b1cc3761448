//! Counts the requests that go to S3, each attempt by itself.

use std::time::Instant;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

use crate::observe::Requests;

/// Connects as `object_store` does by itself, and counts.
#[derive(Debug)]
pub(super) struct Counting {
    pub(super) zone: &'static str,
    pub(super) requests: Requests,
}

#[derive(Debug)]
struct Counted {
    inner: HttpClient,
    zone: &'static str,
    requests: Requests,
}

impl HttpConnector for Counting {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Counted { inner, zone: self.zone, requests: self.requests.clone() }))
    }
}

#[async_trait]
impl HttpService for Counted {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let query = request.uri().query().unwrap_or_default();
        let operation = operation(request.method().as_str(), query);
        let began = Instant::now();
        let answer = self.inner.execute(request).await;
        // "There is none" and "there is one already" are answers, too.
        let ok = answer.as_ref().is_ok_and(|answer| {
            let status = answer.status();
            status.is_success() || matches!(status.as_u16(), 304 | 404 | 409 | 412)
        });
        self.requests.s3(self.zone, operation, ok, began.elapsed());
        answer
    }
}

/// What S3 calls a request of this method and query.
fn operation(method: &str, query: &str) -> &'static str {
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    match (method, has("uploadId")) {
        ("PUT", true) => "UploadPart",
        ("POST", true) => "CompleteMultipartUpload",
        ("DELETE", true) => "AbortMultipartUpload",
        ("GET", true) => "ListParts",
        ("POST", false) if has("uploads") => "CreateMultipartUpload",
        ("POST", false) if has("delete") => "DeleteObjects",
        ("GET", false) if has("list-type") => "ListObjectsV2",
        ("PUT", false) => "PutObject",
        ("GET", false) => "GetObject",
        ("HEAD", false) => "HeadObject",
        ("DELETE", false) => "DeleteObject",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::operation;

    #[test]
    fn requests_are_called_what_s3_calls_them() {
        assert_eq!(operation("PUT", ""), "PutObject");
        assert_eq!(operation("PUT", "partNumber=1&uploadId=x"), "UploadPart");
        assert_eq!(operation("POST", "uploads="), "CreateMultipartUpload");
        assert_eq!(operation("POST", "uploads"), "CreateMultipartUpload");
        assert_eq!(operation("POST", "uploadId=x"), "CompleteMultipartUpload");
        assert_eq!(operation("DELETE", "uploadId=x"), "AbortMultipartUpload");
        assert_eq!(operation("GET", "list-type=2&prefix=uploadId"), "ListObjectsV2");
        assert_eq!(operation("GET", ""), "GetObject");
        assert_eq!(operation("PATCH", ""), "other");
    }
}
