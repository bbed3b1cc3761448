//! The multipart uploads of a bucket that were neither completed nor aborted.
//!
//! `object_store` cannot list them, so the request is our own:
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>.

use serde::Deserialize;

use super::request::Answered;
use super::s3::{Answer, CALL, S3};
use super::zone::Waiting;
use crate::error::{Error, Result};

/// Uploads that are listed at most: more than any clean-up removes at a time.
const MOST: usize = 100_000;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Page {
    upload: Vec<Upload>,
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
    initiated: chrono::DateTime<chrono::Utc>,
}

impl S3 {
    /// All uploads under this zone's prefix.
    pub(super) async fn uploads(&self) -> Result<Vec<Waiting>> {
        let mut found = Vec::new();
        let mut marker: Option<(String, String)> = None;
        while found.len() < MOST {
            let page = tokio::time::timeout(CALL, self.page(marker.as_ref())).await;
            let page = page.unwrap_or_else(|_| {
                Err(self.trouble("list uploads of", "", (Answer::Silent, "no answer".into())))
            })?;
            for upload in page.upload {
                let age = chrono::Utc::now().signed_duration_since(upload.initiated).num_seconds();
                found.push(Waiting {
                    key: self.own_key(&upload.key).to_owned(),
                    upload: Some(upload.upload_id),
                    staging: None,
                    age: u64::try_from(age).unwrap_or(0),
                });
            }
            marker = page.next_key_marker.zip(page.next_upload_id_marker).filter(|_| page.is_truncated);
            if marker.is_none() {
                break;
            }
        }
        Ok(found)
    }

    async fn page(&self, marker: Option<&(String, String)>) -> Result<Page> {
        let failed = |why: String| Error::retry(format!("cannot list the uploads of {}: {why}", self.name));
        // Sorted by name, as the signature wants them.
        let mut query = vec![("encoding-type", "url")];
        if let Some((key, id)) = marker {
            query.extend([("key-marker", key.as_str()), ("upload-id-marker", id.as_str())]);
        }
        let prefix = format!("{}/", self.prefix);
        if !self.prefix.is_empty() {
            query.push(("prefix", &prefix));
        }
        query.push(("uploads", ""));
        query.sort_unstable();
        let answer = self.request("GET", &query).await;
        let Answered { status, body, .. } =
            answer.map_err(|failure| self.trouble("list uploads of", "", failure))?;
        if !(200..300).contains(&status) {
            let text = format!(
                "cannot list the uploads of {} at {}: the store answered {status}: {}",
                self.name,
                self.endpoint,
                body.chars().take(300).collect::<String>()
            );
            return Err(if status == 403 { Error::stop(text) } else { Error::retry(text) });
        }
        parse(&body).map_err(failed)
    }
}

/// Reads an answer; keys come URL-encoded, so that any key can stand in XML.
fn parse(body: &str) -> Result<Page, String> {
    let mut page: Page =
        quick_xml::de::from_str(body).map_err(|e| format!("its answer cannot be read: {e}"))?;
    for upload in &mut page.upload {
        upload.key = decode(&upload.key);
    }
    page.next_key_marker = page.next_key_marker.map(|key| decode(&key));
    Ok(page)
}

fn decode(text: &str) -> String {
    // `+` stands for a space in this encoding.
    let form = format!("k={}", text.replace('&', "%26"));
    url::form_urlencoded::parse(form.as_bytes()).next().map(|(_, v)| v.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let body = r#"<?xml version="1.0"?><ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
            <Bucket>b</Bucket><KeyMarker/><NextKeyMarker>t/a</NextKeyMarker><NextUploadIdMarker>2</NextUploadIdMarker>
            <EncodingType>url</EncodingType><MaxUploads>2</MaxUploads><IsTruncated>true</IsTruncated>
            <Upload><Key>t/date%3D2025-12-02/x+y%2Bz%26.parquet</Key><UploadId>1</UploadId><StorageClass>STANDARD</StorageClass>
              <Initiated>2025-12-02T09:00:00.000Z</Initiated></Upload>
            <Upload><Key>t/a</Key><UploadId>2</UploadId><Initiated>2025-12-02T09:00:01Z</Initiated></Upload>
            </ListMultipartUploadsResult>"#;
        let page = parse(body).expect("an answer");
        assert_eq!(page.upload[0].key, "t/date=2025-12-02/x y+z&.parquet");
        assert_eq!((page.upload.len(), page.upload[1].upload_id.as_str()), (2, "2"));
        assert!(page.is_truncated && page.next_key_marker.as_deref() == Some("t/a"));
        let empty = parse(
            "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>",
        );
        assert!(empty.expect("an answer").upload.is_empty());
        assert!(parse("no xml").is_err());
    }
}
