//! Finds the running hosts of this user, and asks them how they are.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::Status;
use super::directories::{is_of, ours, parse};
use super::socket::QUESTION;

/// How long a host may take: longer than it gives others, so that it gets round to us.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const ANSWER: u64 = 16 << 20;

/// A host that somebody runs.
pub struct Host {
    /// Its process.
    pub pid: u32,
    /// Its socket.
    pub path: PathBuf,
    /// How it is, or why that is not known.
    pub status: Result<Status, String>,
}

/// Asks all hosts in these directories, or those of one pipeline, whose name is given as a part of a path. In the
/// order of pipelines and processes. Sockets without a host are removed.
pub async fn ask(directories: &[PathBuf], segment: Option<&str>) -> Vec<Host> {
    let wanted = |stem: &str| segment.is_none_or(|segment| is_of(stem, segment));
    let mut found = Vec::new();
    for directory in directories.iter().filter(|directory| ours(directory).is_ok()) {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some((stem, pid)) = parse(name).filter(|(stem, _)| wanted(stem)) {
                found.push((stem.to_owned(), pid, path.clone()));
            }
        }
    }
    found.sort();
    let asked = found.into_iter().map(|(_, pid, path)| async move {
        let answer = tokio::time::timeout(PATIENCE, exchange(&path)).await;
        let status = match answer {
            Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionRefused => {
                // Nobody listens: its host was killed.
                let _ = fs::remove_file(&path);
                return None;
            }
            // It has just ended.
            Ok(Err(e)) if e.kind() == io::ErrorKind::NotFound => return None,
            Ok(Err(e)) => Err(e.to_string()),
            Ok(Ok(bytes)) => understood(&bytes),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        };
        Some(Host { pid, path, status })
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

async fn exchange(path: &std::path::Path) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(QUESTION).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn understood(answer: &[u8]) -> Result<Status, String> {
    #[derive(serde::Deserialize)]
    struct Refusal {
        error: String,
    }
    if let Ok(Refusal { error }) = serde_json::from_slice(answer) {
        return Err(error);
    }
    match serde_json::from_slice(answer) {
        Ok(status) => Ok(status),
        Err(_) if answer.is_empty() => Err("it closed the connection".into()),
        Err(_) => Err("its answer is not understood: is it of another version of tidemill?".into()),
    }
}
