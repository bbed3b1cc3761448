//! One error type that says what the caller must do, not where it came from.

use std::fmt;

/// The result of anything in the host that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller must do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Try the same again, later; bounded by the caller.
    Retry,
    /// Drop everything since the last commit and start again from there.
    Abandon,
    /// A person is needed. The process ends with exit code 1.
    Stop,
    /// Wrong usage or configuration. The process ends with exit code 2.
    Usage,
}

/// What failed, on what, what was expected and what to do: one lower-case sentence for a reader.
///
/// A row that cannot be processed is no error: it becomes a [`Reject`](crate::batch::Reject).
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
}

impl Error {
    /// An error of the given kind. The message is one sentence without a final full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into() }
    }

    /// See [`Kind::Retry`].
    pub fn retry(message: impl Into<String>) -> Self {
        Error::new(Kind::Retry, message)
    }

    /// See [`Kind::Abandon`].
    pub fn abandon(message: impl Into<String>) -> Self {
        Error::new(Kind::Abandon, message)
    }

    /// See [`Kind::Stop`].
    pub fn stop(message: impl Into<String>) -> Self {
        Error::new(Kind::Stop, message)
    }

    /// See [`Kind::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Error::new(Kind::Usage, message)
    }

    /// What the caller must do.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same error with what was being done put before it: `context: message`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// An error with all its causes, outermost first, as one line: `a: b: c`.
///
/// A cause that its parent already spells out is not repeated.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
