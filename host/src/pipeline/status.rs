//! The answer to who asks this host how it is: what it noted itself, and where the brokers say that partitions end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::config::Config;
use crate::env::Env;
use crate::observe::socket::Socket;
use crate::observe::{About, At, Board, Status};
use crate::sink::Keys;
use crate::source::Group;

/// How long the brokers may take; then nobody knows how far behind we are.
const BROKERS: Duration = Duration::from_secs(1);

/// The brokers, for one question at a time. None: the host is ending.
type Brokers = Arc<Mutex<Option<Group>>>;

/// A host that can be asked.
pub(super) struct Answering {
    socket: Option<Socket>,
    brokers: Brokers,
}

impl Answering {
    /// From now on this host can be asked, if there is a place for its socket.
    pub(super) fn begin(
        config: &Config,
        env: &Env,
        name: &str,
        keys: &Keys,
        board: &Arc<Board>,
        group: &Group,
    ) -> Answering {
        board.begins(About {
            name: name.into(),
            pipeline: config.pipeline.clone(),
            topic: config.topic.clone(),
            transforms: config.transforms.display().to_string(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            started: At(env.now()),
        });
        let brokers: Brokers = Arc::new(Mutex::new(Some(group.clone())));
        let (board, asked) = (board.clone(), brokers.clone());
        let answer = move || {
            let (board, brokers) = (board.clone(), asked.clone());
            let answer: std::pin::Pin<Box<dyn Future<Output = Status> + Send>> =
                Box::pin(async move { answer(&board, brokers).await });
            answer
        };
        let socket = Socket::open(&config.sockets, keys.segment(), Arc::new(answer));
        Answering { socket, brokers }
    }

    /// Nobody can ask any more, and the brokers are left alone: who leaves the group must be the last to use it.
    pub(super) async fn end(self) {
        drop(self.socket);
        if let Ok(mut brokers) = tokio::time::timeout(BROKERS, self.brokers.lock()).await {
            brokers.take();
        }
    }
}

async fn answer(board: &Board, brokers: Brokers) -> Status {
    let partitions = board.partitions();
    let ends = tokio::time::timeout(BROKERS, ends(brokers, partitions)).await.unwrap_or_default();
    // After the ends, so that what is committed by now does not look like a lag.
    let mut status = board.status();
    status.ends(&ends);
    status
}

async fn ends(brokers: Brokers, partitions: Vec<i32>) -> BTreeMap<i32, i64> {
    if partitions.is_empty() {
        return BTreeMap::new();
    }
    let brokers = brokers.lock_owned().await;
    let asked = tokio::task::spawn_blocking(move || {
        match brokers.as_ref().map(|group| group.lasts(&partitions, BROKERS)) {
            Some(Ok(ends)) => ends,
            Some(Err(e)) => {
                tracing::debug!("how far behind we are is not known: {e}");
                BTreeMap::new()
            }
            None => BTreeMap::new(),
        }
    });
    asked.await.unwrap_or_default()
}
