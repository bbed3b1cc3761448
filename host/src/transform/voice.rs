//! What a guest says: `log` and everything it prints, into the host's log. One measure for both, filled anew for
//! every call.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::bindings::log::Level;
use super::limits::Limits;

/// Bytes of a message that are kept.
const MESSAGE: usize = 4096;
const SECOND: Duration = Duration::from_secs(1);

/// The voice of one instance.
#[derive(Clone)]
pub(super) struct Voice {
    name: Arc<str>,
    left: Arc<Mutex<Left>>,
}

/// What the call that is under way may still say.
#[derive(Debug, Default)]
struct Left {
    lines: usize,
    bytes: usize,
    /// Messages of all calls that were dropped.
    dropped: u64,
    /// This call has dropped some.
    silent: bool,
    /// Lines of the second that began then.
    second: Option<(Instant, usize)>,
}

/// Calls that may use all their lines in one second: a guest is called any number of times.
const CALLS: usize = 10;

impl Voice {
    pub(super) fn new(name: &str) -> Self {
        Voice { name: name.into(), left: Arc::default() }
    }

    /// A call begins.
    pub(super) fn refill(&self, limits: &Limits) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        (left.lines, left.bytes, left.silent) = (limits.log_lines, limits.log_bytes, false);
        if limits.log_lines == 0 {
            return;
        }
        match left.second {
            Some((began, lines)) if began.elapsed() < SECOND => {
                left.lines = left.lines.min((limits.log_lines * CALLS).saturating_sub(lines));
                // It was said when the last of them was used up.
                left.silent = left.lines == 0;
            }
            _ => left.second = Some((Instant::now(), 0)),
        }
    }

    /// Takes a message from the measure; false: it is dropped. The first that is dropped in a call is told.
    fn may(&self, message: &str) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if !left.silent && left.lines > 0 && left.bytes >= message.len() {
            (left.lines, left.bytes) = (left.lines - 1, left.bytes - message.len());
            if let Some((_, lines)) = &mut left.second {
                *lines += 1;
            }
            return true;
        }
        left.dropped += 1;
        if !std::mem::replace(&mut left.silent, true) {
            tracing::warn!(
                transform = &*self.name,
                dropped = left.dropped,
                "further messages of this call are dropped (limits.log-lines, limits.log-kib)"
            );
        }
        false
    }

    /// Counts what comes after the first message that was dropped: it is not even looked at.
    fn silent(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.dropped += u64::from(left.silent);
        left.silent
    }

    pub(super) fn say(&self, level: Level, message: &str) {
        if self.silent() {
            return;
        }
        let (transform, message) = (&*self.name, cut(message));
        if message.is_empty() || !self.may(&message) {
            return;
        }
        match level {
            Level::Debug => tracing::debug!(transform, "{message}"),
            Level::Info => tracing::info!(transform, "{message}"),
            Level::Warn => tracing::warn!(transform, "{message}"),
            Level::Error => tracing::error!(transform, "{message}"),
        }
    }
}

/// The message without what moves the reader's cursor or turns the direction of a line, cut short.
pub(super) fn cut(message: &str) -> String {
    let mut end = message.len().min(MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].trim_end().chars().map(plain).collect()
}

/// A character as it may stand in a line of the log.
pub(super) fn plain(c: char) -> char {
    // Marks, embeddings, overrides and isolates of the bidirectional algorithm (UAX 9), and line separators.
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || turns { ' ' } else { c }
}

/// What a guest prints: a panic's message, most of all.
impl IsTerminal for Voice {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Voice {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

impl OutputStream for Voice {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // `check_write` is a promise of the guest only.
        let kept = &bytes[..bytes.len().min(MESSAGE)];
        if self.silent() {
            return Ok(());
        }
        self.say(Level::Info, &String::from_utf8_lossy(kept));
        Ok(())
    }
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MESSAGE)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Voice {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(voice: &Voice) -> u64 {
        voice.left.lock().unwrap().dropped
    }

    #[test]
    fn lines_and_bytes_are_bounded_for_each_call() {
        let (limits, mut voice) =
            (Limits { log_lines: 3, log_bytes: 10, ..Limits::default() }, Voice::new("t"));
        voice.say(Level::Info, "before any call");
        assert_eq!(dropped(&voice), 1);
        voice.refill(&limits);
        voice.say(Level::Info, "1234");
        OutputStream::write(&mut voice, Bytes::from_static(b"1234\n")).unwrap();
        assert_eq!(dropped(&voice), 1);
        voice.say(Level::Info, "123");
        voice.say(Level::Info, "1");
        assert_eq!(dropped(&voice), 3, "once it is silent it stays so");
        voice.refill(&limits);
        (0..5).for_each(|_| voice.say(Level::Info, "1"));
        assert_eq!(dropped(&voice), 5);
    }

    #[test]
    fn messages_cannot_move_the_cursor() {
        assert_eq!(cut("a\x1b[2Jb\nc\r\n"), "a [2Jb c");
        assert_eq!(cut("a\u{202e}b\u{2066}c"), "a b c");
        assert_eq!(cut(&"é".repeat(4096)).len(), MESSAGE);
    }
}
