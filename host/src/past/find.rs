//! Finding the files that patterns name, on a disk and in buckets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::bytes::Place;
use super::pattern::Pattern;
use super::{File, Format, Packing};
use crate::env::Env;
use crate::sink::{Aws, Keys, Location, ZoneStore};
use crate::table::Zone;
use crate::wait::{blocking, tries};
use crate::{Error, Kind, Result};

/// How often a bucket is asked that does not answer.
const TRIES: u32 = 5;

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The files, in the order of their names.
    pub files: Vec<File>,
    /// Files of kinds that are not known.
    pub others: u64,
}

/// Finds the files that patterns name: each of them must name one. `format`: of files whose ending does not say it.
pub async fn find(patterns: &[String], format: Option<Format>, env: &Env) -> Result<Found> {
    let (mut files, mut others) = (BTreeMap::new(), 0);
    let read = Arc::new(AtomicU64::new(0));
    let mut aws = None;
    for text in patterns {
        let listed = match text.strip_prefix("s3://") {
            Some(rest) => {
                let aws = match &mut aws {
                    Some(aws) => aws,
                    none => none.insert(Aws::load(None).await),
                };
                in_bucket(text, rest, aws, env).await?
            }
            None => {
                let path = text.strip_prefix("file://").unwrap_or(text).to_owned();
                blocking("looking for files", move || on_disk(&path)).await??
            }
        };
        let (mut known, named) = (0, listed.named);
        for Listed { name, place, bytes } in listed.files {
            let (ending, packing) = kind(&name);
            match format.or(ending) {
                Some(format) if format != Format::Parquet || packing == Packing::Plain => {
                    known += 1;
                    let read = read.clone();
                    files.insert(name.clone(), File { name, place, bytes, format, packing, read });
                }
                Some(_) => {
                    return Err(Error::usage(format!(
                        "{name} is a packed Parquet file, which cannot be read in parts: unpack it (Parquet has \
                         compression of its own)"
                    )));
                }
                None if named => {
                    return Err(Error::usage(format!(
                        "{name} does not end in .json, .jsonl, .ndjson, .csv or .parquet (and .gz or .zst): say what it \
                         is with --format"
                    )));
                }
                None => others += 1,
            }
        }
        if known == 0 {
            return Err(Error::usage(format!(
                "{text} names no file of JSON lines, CSV or Parquet; * is anything within a folder, ** any folders, and \
                 names that begin with _ or . are left out"
            )));
        }
    }
    Ok(Found { files: files.into_values().collect(), others })
}

/// What a pattern names.
struct Listing {
    files: Vec<Listed>,
    /// It is the name of one file.
    named: bool,
}

struct Listed {
    name: String,
    place: Place,
    bytes: u64,
}

async fn in_bucket(text: &str, rest: &str, aws: &Aws, env: &Env) -> Result<Listing> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(Error::usage(format!("{text} names no bucket: expected s3://bucket/prefix/*.json.gz")));
    }
    let location = Location::S3 { bucket: bucket.into(), prefix: String::new() };
    let store = ZoneStore::open(Zone::Raw, location, "PATTERN", &Keys::new("backfill")?, Some(aws), env)?;
    let (store, mut pattern) = (Arc::new(store), Pattern::new(key));
    let place = |key: &str| Place::Bucket { store: store.clone(), env: env.clone(), key: key.into() };
    if pattern.plain() && !key.is_empty() && !key.ends_with('/') {
        let size = tries(env, TRIES, || store.size(key)).await.map_err(ended)?;
        if let Some(bytes) = size {
            let file = Listed { name: text.into(), place: place(key), bytes };
            return Ok(Listing { files: vec![file], named: true });
        }
    }
    if pattern.plain() {
        pattern = if key.is_empty() { Pattern::new("**") } else { Pattern::under(key) };
    }
    let folder = pattern.folder();
    let listed = tries(env, TRIES, || store.list(&folder, usize::MAX)).await.map_err(ended)?;
    let mut files = Vec::new();
    for (key, bytes) in listed.into_iter().filter(|(key, _)| pattern.names(key)) {
        files.push(Listed { name: format!("s3://{bucket}/{key}"), place: place(&key), bytes });
    }
    Ok(Listing { files, named: false })
}

fn on_disk(text: &str) -> Result<Listing> {
    let absolute = std::path::absolute(text)
        .map_err(|e| Error::usage(format!("cannot make the path {text} absolute: {e}")))?;
    let address = |path: &Path| format!("file://{}", path.display());
    let mut pattern = Pattern::new(&absolute.to_string_lossy());
    let looked = std::fs::metadata(&absolute);
    if let Some(meta) = looked.as_ref().ok().filter(|meta| meta.is_file()) {
        let file = Listed { name: address(&absolute), bytes: meta.len(), place: Place::Disk(absolute) };
        return Ok(Listing { files: vec![file], named: true });
    }
    if looked.is_ok_and(|meta| meta.is_dir()) {
        pattern = Pattern::under(&absolute.to_string_lossy());
    }
    let (mut files, mut todo) = (Vec::new(), vec![PathBuf::from(format!("{}/", pattern.folder()))]);
    while let Some(folder) = todo.pop() {
        let failed = |e: std::io::Error| Error::stop(format!("cannot list {}: {e}", folder.display()));
        let entries = match std::fs::read_dir(&folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(failed)?,
        };
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            // What it leads to, if it is a link.
            let meta = match std::fs::metadata(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.map_err(failed)?,
            };
            match meta.is_dir() {
                true => todo.push(path),
                false if pattern.names(&path.to_string_lossy()) => {
                    files.push(Listed { name: address(&path), bytes: meta.len(), place: Place::Disk(path) });
                }
                false => {}
            }
        }
    }
    Ok(Listing { files, named: false })
}

/// What the ending of a name says.
fn kind(name: &str) -> (Option<Format>, Packing) {
    let name = name.to_ascii_lowercase();
    let (name, packing) = match name.rsplit_once('.') {
        Some((rest, "gz" | "gzip")) => (rest.to_owned(), Packing::Gzip),
        Some((rest, "zst" | "zstd")) => (rest.to_owned(), Packing::Zstd),
        _ => (name, Packing::Plain),
    };
    let format = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("json" | "jsonl" | "ndjson") => Some(Format::Json),
        Some("csv") => Some(Format::Csv),
        Some("parquet") => Some(Format::Parquet),
        _ => None,
    };
    (format, packing)
}

/// Nobody tries again.
fn ended(error: Error) -> Error {
    match error.kind() {
        Kind::Retry => Error::stop(error.to_string()),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::machine;

    #[test]
    fn an_ending_says_the_format_and_the_packing() {
        assert_eq!(kind("s3://b/a.JSON.gz"), (Some(Format::Json), Packing::Gzip));
        assert_eq!(kind("a.csv.zst"), (Some(Format::Csv), Packing::Zstd));
        assert_eq!(kind("a.b.parquet"), (Some(Format::Parquet), Packing::Plain));
        assert_eq!(kind("a.gz"), (None, Packing::Gzip));
        assert_eq!(kind("README"), (None, Packing::Plain));
    }

    #[tokio::test]
    async fn files_are_found_in_the_order_of_their_names() {
        let folder = tempfile::TempDir::new().unwrap();
        for name in ["b/2.json", "b/1.json.gz", "a.csv", "b/notes.txt", "_hidden/3.json"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let root = folder.path().display().to_string();
        let names = async |patterns: &[String]| {
            let found = find(patterns, None, &machine()).await.unwrap();
            let names =
                found.files.iter().map(|file| file.name.rsplit(&root).next().unwrap()[1..].to_owned());
            (names.collect::<Vec<_>>(), found.others)
        };
        let all = ["a.csv", "b/1.json.gz", "b/2.json"].map(str::to_owned).to_vec();
        assert_eq!(names(std::slice::from_ref(&root)).await, (all.clone(), 1));
        assert_eq!(names(&[format!("{root}/**/*.json*"), format!("file://{root}/a.csv")]).await, (all, 0));
        for (pattern, expected) in [("/c/*", "names no file"), ("/b/notes.txt", "--format")] {
            let error = find(&[format!("{root}{pattern}")], None, &machine()).await.unwrap_err();
            assert!(error.kind() == Kind::Usage && error.to_string().contains(expected), "{error}");
        }
    }
}
