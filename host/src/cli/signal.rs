//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::{Error, Result};

/// Becomes true at the first signal. Must be called within a runtime.
pub(super) fn stop() -> Result<watch::Receiver<bool>> {
    let fail = |e| Error::stop(format!("cannot listen for signals: {e}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        let mut again = false;
        loop {
            let code = tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            };
            if std::mem::replace(&mut again, true) {
                std::process::exit(code);
            }
            tracing::info!("stopping in good order; signal again to stop at once");
            // Nobody listens any more only if the end is near anyway.
            let _ = tell.send(true);
        }
    });
    Ok(told)
}
