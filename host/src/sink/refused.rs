//! Notices that S3 calls the credentials expired, so that the next request is signed with others.

use std::sync::Arc;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

use super::counted::Counting;
use super::credentials::Chain;
use super::s3::EXPIRED;

/// Connects as `object_store` does by itself, counts if told so, and watches.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) chain: Option<Arc<Chain>>,
    pub(super) counting: Option<Counting>,
}

#[derive(Debug)]
struct Watched {
    inner: HttpClient,
    chain: Arc<Chain>,
}

impl HttpConnector for Watching {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = match &self.counting {
            Some(counting) => counting.connect(options)?,
            None => ReqwestConnector::default().connect(options)?,
        };
        Ok(match &self.chain {
            Some(chain) => HttpClient::new(Watched { inner, chain: Arc::clone(chain) }),
            None => inner,
        })
    }
}

#[async_trait]
impl HttpService for Watched {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.inner.execute(request).await?;
        if !matches!(answer.status().as_u16(), 400 | 401 | 403) {
            return Ok(answer);
        }
        // A refusal is short, and says why inside.
        let (head, body) = answer.into_parts();
        let body = body.bytes().await?;
        let code =
            |code: &&str| memchr::memmem::find(&body, format!("<Code>{code}</Code>").as_bytes()).is_some();
        if EXPIRED.iter().any(code) {
            self.chain.refused();
        }
        Ok(HttpResponse::from_parts(head, body.into()))
    }
}
