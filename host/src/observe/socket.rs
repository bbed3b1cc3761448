//! The socket at which a running host can be asked how it is.
//!
//! One line in, one line out, then the end: `{"ask":"status"}` is answered with a [`Status`], anything else with
//! `{"error":"…"}`. A request has at most 4 KiB, an exchange takes at most two seconds, and only a few run side by
//! side; who comes later waits. The socket goes with its host; one that a killed host has left goes when somebody
//! looks for hosts ([`hosts`](super::hosts)).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::Status;
use super::directories::{UNREADY, prepare, socket};

/// The question, as it is asked.
pub(super) const QUESTION: &[u8] = b"{\"ask\":\"status\"}\n";
/// Bytes of a request.
const REQUEST: usize = 4096;
/// How long one exchange may take.
const EXCHANGE: Duration = Duration::from_secs(2);
/// Exchanges side by side.
const ABREAST: usize = 8;
/// The pause when the system gives us no more connections.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes an answer.
pub type Answer = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Status> + Send>> + Send + Sync>;

/// A socket that is being served. It ends when this is dropped.
pub struct Socket {
    path: PathBuf,
    serving: JoinHandle<()>,
}

impl Socket {
    /// Opens the socket of a host in the first directory that can be used. None: there is none, and that is told.
    /// `segment` is the pipeline's name as a part of a path. Must be called within a runtime.
    pub fn open(directories: &[PathBuf], segment: &str, answer: Answer) -> Option<Socket> {
        let mut reasons = Vec::new();
        for directory in directories {
            match listen(directory, segment) {
                Ok((path, listener)) => {
                    tracing::debug!("tidemill status asks at {}", path.display());
                    return Some(Socket { path, serving: tokio::spawn(serve(listener, answer)) });
                }
                Err(why) => reasons.push(format!("{}: {why}", directory.display())),
            }
        }
        if !reasons.is_empty() {
            tracing::warn!("tidemill status will not find this host; {}", reasons.join("; "));
        }
        None
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.serving.abort();
        // Somebody may have tidied up.
        let _ = fs::remove_file(&self.path);
    }
}

fn listen(directory: &Path, segment: &str) -> Result<(PathBuf, UnixListener), String> {
    prepare(directory)?;
    let path = socket(directory, segment, std::process::id());
    let path = path.ok_or("its path is too long for a socket in it")?;
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        return Err(format!("{} is in use", path.display()));
    }
    // Under its name it listens from the first moment: nobody takes it for one that was left behind.
    let mut unready = path.clone().into_os_string();
    unready.push(UNREADY);
    let _ = fs::remove_file(&unready);
    let listener = UnixListener::bind(&unready).map_err(|e| format!("cannot make a socket: {e}"))?;
    fs::rename(&unready, &path).map_err(|e| format!("cannot name a socket: {e}"))?;
    Ok((path, listener))
}

async fn serve(listener: UnixListener, answer: Answer) {
    let room = Arc::new(Semaphore::new(ABREAST));
    while let Ok(place) = room.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = answer.clone();
                tokio::spawn(async move {
                    // Who is slow, or gone, gets nothing.
                    let _ = tokio::time::timeout(EXCHANGE, exchange(stream, answer)).await;
                    drop(place);
                });
            }
            Err(e) => {
                tracing::debug!("cannot take a connection: {e}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn exchange(stream: UnixStream, answer: Answer) -> io::Result<()> {
    let mut request = Vec::new();
    let mut stream = BufReader::new(stream);
    (&mut stream).take(REQUEST as u64 + 1).read_until(b'\n', &mut request).await?;
    if request.is_empty() {
        return Ok(());
    }
    let text = match understood(&request) {
        Ok(()) => json!(answer().await),
        Err(why) => json!({ "error": why }),
    };
    stream.write_all(format!("{text}\n").as_bytes()).await?;
    stream.shutdown().await
}

fn understood(request: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Request {
        ask: String,
    }
    if request.len() > REQUEST {
        return Err(format!("the request has more than {REQUEST} bytes"));
    }
    match serde_json::from_slice(request) {
        Ok(Request { ask }) if ask == "status" => Ok(()),
        _ => Err(
            r#"expected one line of JSON, {"ask":"status"}; another version of tidemill may ask for more"#
                .into(),
        ),
    }
}

#[cfg(test)]
mod tests;
