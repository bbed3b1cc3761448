//! Listens, and serves a bounded number of connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::{Access, Sources, router};
use crate::observe::Board;

/// Connections side by side; who comes later waits.
const CONNECTIONS: usize = 128;
/// How long a request may take to come.
const REQUEST: Duration = Duration::from_secs(10);
/// An address that is taken is tried again so often.
const AGAIN: Duration = Duration::from_secs(5);
/// The pause when the system gives us no more connections.
const PAUSE: Duration = Duration::from_millis(100);

/// A server. It ends when this is dropped.
pub struct Server(JoinHandle<()>);

impl Server {
    /// Serves at that address, as soon as it is free; then the board knows where. Must be called within a runtime.
    pub fn begin(address: SocketAddr, token: Option<&str>, board: &Arc<Board>, sources: Sources) -> Server {
        let router = router(Arc::new(sources), Arc::new(Access::new(address, token)));
        let board = board.clone();
        Server(tokio::spawn(async move {
            let listener = bound(address).await;
            let url = format!("http://{}", listener.local_addr().unwrap_or(address));
            tracing::info!("dashboard at {url}");
            board.dashboard(&url);
            serve(listener, router).await;
        }))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn bound(address: SocketAddr) -> TcpListener {
    let mut said = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(e) if !std::mem::replace(&mut said, true) => tracing::warn!(
                "no dashboard yet at {address}: {e}; choose another address (setting `http`), or none (off)"
            ),
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn serve(listener: TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // They end with the server.
    let mut connections = JoinSet::new();
    while let Ok(place) = room.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = TowerToHyperService::new(router.clone());
                connections.spawn(async move {
                    let served = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(REQUEST)
                        .serve_connection(TokioIo::new(stream), router);
                    if let Err(e) = served.await {
                        tracing::debug!("a connection ended: {e}");
                    }
                    drop(place);
                });
            }
            Err(e) => {
                tracing::debug!("cannot take a connection: {e}");
                tokio::time::sleep(PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}
