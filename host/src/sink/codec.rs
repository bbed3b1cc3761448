//! How the pages of files are compressed.

use std::fmt;

use parquet::basic::{Compression, ZstdLevel};

use crate::error::{Error, Result};

/// How the pages of a zone's files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Zstandard with a level from -7 (least work) to 22 (smallest).
    Zstd(i32),
    /// LZ4 as Parquet names it `LZ4_RAW`: less work, larger files. Not every reader has it.
    Lz4,
    /// Snappy: what old readers have.
    Snappy,
    /// As it is.
    None,
}

/// What [`Codec::parse`] expects, for errors.
pub(crate) const CODECS: &str = "zstd, zstd:LEVEL with a level from -7 to 22, lz4, snappy or none";

impl Default for Codec {
    fn default() -> Self {
        Codec::Zstd(1)
    }
}

impl Codec {
    /// `zstd`, `zstd:3`, `lz4`, `snappy` or `none`; none: it is something else.
    pub fn parse(text: &str) -> Option<Codec> {
        match text {
            "zstd" => Some(Codec::default()),
            "lz4" => Some(Codec::Lz4),
            "snappy" => Some(Codec::Snappy),
            "none" => Some(Codec::None),
            _ => {
                let level = text.strip_prefix("zstd:")?.parse().ok()?;
                // Level 0 means "the default" to zstd, which is another one than ours. Far below -7 it goes on, with
                // files that are hardly smaller than the rows.
                (level != 0 && (-7..=22).contains(&level)).then_some(Codec::Zstd(level))
            }
        }
    }

    pub(super) fn compression(self) -> Result<Compression> {
        Ok(match self {
            Codec::Zstd(level) => Compression::ZSTD(
                ZstdLevel::try_new(level)
                    .map_err(|_| Error::usage(format!("there is no codec {self}; take {CODECS}")))?,
            ),
            Codec::Lz4 => Compression::LZ4_RAW,
            Codec::Snappy => Compression::SNAPPY,
            Codec::None => Compression::UNCOMPRESSED,
        })
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Codec::Zstd(level) => write!(f, "zstd:{level}"),
            Codec::Lz4 => f.write_str("lz4"),
            Codec::Snappy => f.write_str("snappy"),
            Codec::None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_read_as_they_are_written() {
        for codec in
            [Codec::Zstd(1), Codec::Zstd(-5), Codec::Zstd(22), Codec::Lz4, Codec::Snappy, Codec::None]
        {
            assert_eq!(Codec::parse(&codec.to_string()), Some(codec));
            assert!(codec.compression().is_ok());
        }
        assert_eq!(Codec::parse("zstd"), Some(Codec::Zstd(1)));
        for bad in ["", "zstd:", "zstd:0", "zstd:23", "zstd:-8", "zstd:x", "gzip", "ZSTD", "lz4:1"] {
            assert_eq!(Codec::parse(bad), None, "{bad}");
        }
        assert!(Codec::Zstd(99).compression().is_err());
    }
}
