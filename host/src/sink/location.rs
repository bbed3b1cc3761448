//! Where a zone lies: a bucket with a prefix, or a folder.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The root of a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Location {
    /// On S3, or on what speaks its protocol.
    S3 {
        /// The bucket.
        bucket: String,
        /// The folder in it, without slashes at its ends; empty for the whole bucket.
        prefix: String,
    },
    /// In a folder of this machine, as an absolute path.
    Local(PathBuf),
}

impl Location {
    /// Reads `s3://bucket`, `s3://bucket/prefix`, `file:///folder` or a path (made absolute).
    ///
    /// `setting` is named in errors.
    pub fn parse(text: &str, setting: &str) -> Result<Location> {
        let wrong = |why: &str| Error::usage(format!("{why}: `{text}` (setting `{setting}`)"));
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(wrong("the bucket's name is missing"));
            }
            let prefix = prefix.trim_matches('/');
            if prefix
                .split('/')
                .any(|part| (part.is_empty() && !prefix.is_empty()) || part == "." || part == "..")
            {
                return Err(wrong("an empty folder, `.` or `..` cannot stand in a prefix"));
            }
            return Ok(Location::S3 { bucket: bucket.into(), prefix: prefix.into() });
        }
        if let Some(rest) = text.strip_prefix("file://") {
            if !rest.starts_with('/') {
                return Err(wrong("a file:// address needs an absolute path, as in file:///var/lake"));
            }
            return Ok(Location::Local(PathBuf::from(rest)));
        }
        if text.is_empty() || text.contains("://") {
            return Err(wrong("expected s3://bucket/prefix or file:///folder"));
        }
        let path = std::path::absolute(text)
            .map_err(|error| wrong(&format!("cannot make the path absolute: {error}")))?;
        Ok(Location::Local(path))
    }

    /// The address of what lies at a key under this root.
    pub fn join(&self, key: &str) -> String {
        let root = self.to_string();
        format!("{}/{key}", root.trim_end_matches('/'))
    }
}

impl fmt::Display for Location {
    /// `s3://bucket/prefix` or `file:///path`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Location::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Location::Local(path) => write!(f, "file://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_it_writes() {
        for text in ["s3://user-events-raw", "s3://b/a/c", "file:///var/lake"] {
            let location = Location::parse(text, "raw").expect("well formed");
            assert_eq!(location.to_string(), text);
            assert_eq!(location.join("k"), format!("{text}/k"));
        }
        assert_eq!(Location::parse("s3://b/a/", "raw").expect("a slash too many").to_string(), "s3://b/a");
        assert!(matches!(Location::parse("lake", "raw"), Ok(Location::Local(path)) if path.is_absolute()));
    }

    #[test]
    fn what_it_refuses_names_the_setting() {
        for text in ["", "s3://", "s3:///x", "s3://b/a//c", "s3://b/../c", "gs://b", "file://lake"] {
            let error = Location::parse(text, "processed").expect_err(text);
            assert!(error.to_string().contains("`processed`"), "{error}");
        }
    }
}
