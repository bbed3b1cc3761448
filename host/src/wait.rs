//! How the host waits: for work that blocks, and for somebody who does not answer.

use std::time::Duration;

use crate::env::Env;
use crate::{Error, Kind, Result};

/// Runs something that blocks, beside the runtime's own threads. `what` is named if it panics.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::stop(format!("{what} failed: {e}")))
}

/// Does something up to `tries` times until it is answered; pauses from 100 ms on, each twice as long. What is not
/// answered then is an error of the kind [`Kind::Retry`].
pub(crate) async fn tries<T, F: Future<Output = Result<T>>>(
    env: &Env,
    tries: u32,
    mut attempt: impl FnMut() -> F,
) -> Result<T> {
    let mut pause = Duration::from_millis(100);
    for _ in 1..tries {
        match attempt().await {
            Err(e) if e.kind() == Kind::Retry => env.sleep(pause).await,
            other => return other,
        }
        pause *= 2;
    }
    attempt().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::machine;

    #[tokio::test]
    async fn only_what_is_not_answered_is_tried_again_and_not_for_ever() {
        let tried = |kind: Kind| async move {
            let (env, mut times) = (machine(), 0);
            let failed = tries(&env, 3, || {
                times += 1;
                async move { Err::<(), _>(Error::new(kind, "no")) }
            });
            let error = failed.await.unwrap_err();
            (error.kind() == kind, times)
        };
        assert_eq!(tried(Kind::Retry).await, (true, 3));
        assert_eq!(tried(Kind::Stop).await, (true, 1));
    }
}
