//! A file that is finished and that no reader can see: plain data, as it stands in a commit record.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::env::Micros;
use crate::table::{Hour, Zone};

/// A finished, invisible file and how to make it visible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// The zone it belongs to: `raw` or `processed`.
    #[serde(with = "zone")]
    pub zone: Zone,
    /// The name of its table.
    pub table: String,
    /// The partition it belongs to, in hours since 1970.
    #[serde(with = "hour")]
    pub hour: Hour,
    /// Where readers will find it, relative to the zone's root.
    pub key: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// The earliest event time in it.
    pub first: Micros,
    /// The latest event time in it.
    pub last: Micros,
    /// What makes it visible.
    pub how: Publish,
}

/// What makes a staged file visible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publish {
    /// Complete this multipart upload.
    Upload {
        /// The upload's id.
        id: String,
        /// The ETag of each part, in order.
        parts: Vec<String>,
    },
    /// Rename it from here.
    Rename {
        /// Where it waits, relative to the zone's root.
        staging: String,
    },
}

/// A zone's name, as `#[serde(with)]` wants it.
pub mod zone {
    use super::{Deserialize, Deserializer, Serializer, Zone};

    /// Its name.
    pub fn name(zone: Zone) -> &'static str {
        match zone {
            Zone::Raw => "raw",
            Zone::Processed => "processed",
        }
    }

    /// Writes it.
    pub fn serialize<S: Serializer>(zone: &Zone, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(name(*zone))
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Zone, D::Error> {
        match String::deserialize(from)?.as_str() {
            "raw" => Ok(Zone::Raw),
            "processed" => Ok(Zone::Processed),
            other => {
                Err(serde::de::Error::custom(format!("`{other}` is no zone: expected raw or processed")))
            }
        }
    }
}

mod hour {
    use super::{Deserialize, Deserializer, Hour, Serializer};

    pub(super) fn serialize<S: Serializer>(hour: &Hour, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(hour.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Hour, D::Error> {
        i64::deserialize(from).map(Hour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_a_record() {
        let file = StagedFile {
            zone: Zone::Processed,
            table: "user_events".into(),
            hour: Hour(490_185),
            key: "user_events/date=2025-12-02/hour=09/e-0-1.parquet".into(),
            rows: 3,
            bytes: 1234,
            first: 1,
            last: 2,
            how: Publish::Upload { id: "u".into(), parts: vec!["\"etag\"".into()] },
        };
        let text = serde_json::to_string(&file).expect("plain data");
        assert!(text.contains(r#""zone":"processed""#) && text.contains(r#""upload":{"#), "{text}");
        assert_eq!(serde_json::from_str::<StagedFile>(&text).expect("what was written"), file);
    }
}
