//! Requests to a bucket that `object_store` cannot make: written and signed here, sent once.

use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector};

use super::s3::{Answer, Failure, S3, explain};
use crate::error::chain;

/// What the store answered, whatever it was.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    /// The status of HTTP.
    pub status: u16,
    /// When it was, by the store's clock.
    pub date: Option<chrono::DateTime<chrono::Utc>>,
    /// The region of the bucket, where the store tells it.
    pub region: Option<String>,
    /// The rest.
    pub body: String,
}

impl S3 {
    /// Asks about the bucket. `query` must be sorted by name, as the signature wants it.
    pub(super) async fn request(&self, method: &str, query: &[(&str, &str)]) -> Result<Answered, Failure> {
        let broken = |why: String| (Answer::Refused, why);
        let address = url::Url::parse_with_params(&self.bucket_url, query);
        let address = address.map_err(|e| broken(format!("{} is no address: {e}", self.bucket_url)))?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        let no_address = |_| broken(format!("{address} is no address"));
        // Without a query no question mark: it would stand in the signature.
        let text = if query.is_empty() { address.as_str().trim_end_matches('?') } else { address.as_str() };
        *request.uri_mut() = text.parse().map_err(no_address)?;
        *request.method_mut() = method.parse().map_err(|_| broken(format!("{method} is no method")))?;
        let credential = self.store.credentials().get_credential().await.map_err(|e| explain(&e))?;
        let signer = AwsAuthorizer::new(&credential, "s3", &self.region);
        signer.try_authorize(&mut request, None).map_err(|e| broken(chain(&e)))?;
        let client = ReqwestConnector::default().connect(&self.client).map_err(|e| broken(chain(&e)))?;
        let silent = |why: String| (Answer::Silent, why);
        let answer = client.execute(request).await.map_err(|e| silent(chain(&e)))?;
        let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
        let date = header("date").and_then(|text| chrono::DateTime::parse_from_rfc2822(&text).ok());
        let (date, region) = (date.map(|date| date.to_utc()), header("x-amz-bucket-region"));
        let status = answer.status().as_u16();
        let body = answer.into_body().bytes().await.map_err(|e| silent(chain(&e)))?;
        Ok(Answered { status, date, region, body: String::from_utf8_lossy(&body).into_owned() })
    }
}
