//! Messages for the people who run the host. It cuts long ones and drops them above a rate; natively they go to stderr.
//!
//! Log what a person must know (a setting that has no effect, state of an older version), never rows.

pub use crate::bindings::tidemill::transform::log::Level;

/// Logs a message.
pub fn log(level: Level, message: &str) {
    #[cfg(target_family = "wasm")]
    crate::bindings::tidemill::transform::log::log(level, message);
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{level:?}: {message}");
}

/// For whoever writes the transform.
pub fn debug(message: &str) {
    log(Level::Debug, message);
}

/// Worth knowing.
pub fn info(message: &str) {
    log(Level::Info, message);
}

/// Somebody should look at it.
pub fn warn(message: &str) {
    log(Level::Warn, message);
}

/// Something is wrong.
pub fn error(message: &str) {
    log(Level::Error, message);
}
