//! The answer to who asks this host how it is: what it noted itself, where the brokers say that partitions end, and
//! whether the zones answer. On a socket for `tidemill status`, and over HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as StdMutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::activity::{Activity, Range};
use crate::config::Config;
use crate::env::Env;
use crate::observe::health::checks;
use crate::observe::http::{Asked, Server, Sources};
use crate::observe::metrics::exposition;
use crate::observe::socket::Socket;
use crate::observe::{About, At, Pulse, Stats, Status};
use crate::shard::Shard;
use crate::sink::{Keys, Stores};
use crate::source::Group;

/// How long the brokers may take; then nobody knows how far behind we are.
const BROKERS: Duration = Duration::from_secs(1);
/// How long a zone may take.
const ZONE: Duration = Duration::from_secs(3);
/// How long it is believed that the zones answer: each question costs a request.
const ANSWERED: Duration = Duration::from_secs(15);
/// How long what the brokers said is taken to be so: many may ask.
const FRESH: Duration = Duration::from_millis(900);

/// A host that can be asked.
pub(super) struct Answering {
    socket: Option<Socket>,
    server: Option<Server>,
    pulse: Option<JoinHandle<()>>,
    host: Arc<Host>,
}

/// What answers.
struct Host {
    stats: Arc<Stats>,
    keys: Keys,
    logs: u32,
    env: Env,
    interval: Duration,
    /// The brokers, for one question at a time. None: the host is ending.
    brokers: Mutex<Option<Group>>,
    /// The zones, once they are open.
    lake: OnceLock<(Stores, Activity)>,
    /// When the zones answered last.
    answered: Mutex<Option<Instant>>,
    /// Partitions with events that wait: where they stood when that was seen first, and when.
    waiting: StdMutex<BTreeMap<i32, (Option<i64>, At)>>,
    /// What the brokers said last, and when.
    said: Mutex<Option<(Instant, BTreeMap<i32, i64>)>>,
}

impl Answering {
    /// From now on this host can be asked, if there is a place for its socket.
    pub(super) fn begin(
        config: &Config,
        env: &Env,
        name: &str,
        keys: &Keys,
        stats: &Arc<Stats>,
        group: &Group,
    ) -> Answering {
        stats.board().begins(About {
            name: name.into(),
            pipeline: config.pipeline.clone(),
            topic: config.topic.clone(),
            transforms: config.transforms_place(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            started: At(env.now()),
            ..About::default()
        });
        let host = Arc::new(Host {
            stats: stats.clone(),
            keys: keys.clone(),
            logs: config.logs,
            env: env.clone(),
            interval: config.commit_interval,
            brokers: Mutex::new(Some(group.clone())),
            lake: OnceLock::new(),
            answered: Mutex::default(),
            waiting: StdMutex::default(),
            said: Mutex::default(),
        });
        let socket = Socket::open(&config.sockets, keys.segment(), Arc::new(status_of(&host)));
        let token = config.http_token.as_ref().map(|token| token.0.as_str());
        let server = config.http.map(|address| Server::begin(address, token, &stats.board(), sources(&host)));
        let pulse = config.pulse.map(|every| tokio::spawn(beating(host.clone(), every)));
        Answering { socket, server, pulse, host }
    }

    /// The zones are open.
    pub(super) fn lake(&self, stores: &Stores) {
        let Host { keys, logs, env, lake, .. } = &*self.host;
        let shards = Shard::all(*logs).map(|shard| keys.shard(shard)).collect();
        let activity = Activity::new(stores.processed.clone(), shards, env.clone());
        // It is opened once.
        let _ = lake.set((stores.clone(), activity));
    }

    /// Nobody can ask any more, and the brokers are left alone: who leaves the group must be the last to use it.
    pub(super) async fn end(self) {
        drop((self.socket, self.server));
        self.pulse.iter().for_each(JoinHandle::abort);
        if let Ok(mut brokers) = tokio::time::timeout(BROKERS, self.host.brokers.lock()).await {
            brokers.take();
        }
    }
}

/// Tells the log how this host is, every so often.
async fn beating(host: Arc<Host>, every: Duration) {
    let mut pulse = Pulse::default();
    loop {
        tokio::time::sleep(every).await;
        pulse.beat(&host.status().await).log();
    }
}

fn status_of(host: &Arc<Host>) -> impl Fn() -> Asked<Status> + Send + Sync + 'static {
    let host = host.clone();
    move || {
        let host = host.clone();
        Box::pin(async move { host.status().await })
    }
}

fn sources(host: &Arc<Host>) -> Sources {
    let (counting, looking) = (host.clone(), host.clone());
    Sources {
        status: Box::new(status_of(host)),
        metrics: Box::new(move |status| {
            exposition(&counting.stats.meters(), status, &counting.stats.snapshot())
        }),
        activity: Box::new(move |range| {
            let range: Range = serde_json::from_value(json!(range)).ok()?;
            let lake = looking.lake.get().map(|(_, activity)| activity.clone());
            Some(Box::pin(async move {
                match lake {
                    Some(activity) => json!(activity.look(range).await),
                    None => json!({ "error": "the host is still starting" }),
                }
            }))
        }),
    }
}

impl Host {
    async fn status(self: &Arc<Host>) -> Status {
        let (ends, storage) = tokio::join!(self.ends(), self.storage());
        // After the ends, so that what is committed by now does not look like a lag.
        let mut status = self.stats.status();
        status.ends(&ends);
        self.wait(&mut status);
        status.checks = checks(&status, self.interval, storage);
        status.ready = status.checks.iter().all(|check| check.ok);
        status
    }

    /// Notes since when events wait in partitions that do not get on.
    fn wait(&self, status: &mut Status) {
        let mut known = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|number, _| status.partitions.contains_key(number));
        for (number, partition) in &mut status.partitions {
            match partition.lag {
                Some(0) => drop(known.remove(number)),
                Some(_) => {
                    let since = known.entry(*number).or_insert((partition.committed, status.at));
                    if since.0 != partition.committed {
                        *since = (partition.committed, status.at);
                    }
                }
                // The brokers do not say: it is as it was.
                None => {}
            }
            partition.waiting = known.get(number).map(|(_, since)| *since);
        }
    }

    async fn ends(self: &Arc<Host>) -> BTreeMap<i32, i64> {
        // Held over the question on purpose: the others wait for its answer instead of asking too.
        let mut said = self.said.lock().await;
        if let Some((_, ends)) = said.as_ref().filter(|(when, _)| when.elapsed() < FRESH) {
            return ends.clone();
        }
        let partitions = self.stats.mine();
        if partitions.is_empty() {
            return BTreeMap::new();
        }
        let host = self.clone();
        let asked = async move {
            let asked = tokio::task::spawn_blocking(move || {
                let brokers = host.brokers.blocking_lock();
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
        };
        let ends = tokio::time::timeout(BROKERS, asked).await.unwrap_or_default();
        *said = Some((Instant::now(), ends.clone()));
        ends
    }

    /// Whether both zones answer.
    async fn storage(&self) -> Result<(), String> {
        let Some((stores, _)) = self.lake.get() else { return Err("the zones are not open yet".into()) };
        let mut answered = self.answered.lock().await;
        if answered.is_some_and(|when| when.elapsed() < ANSWERED) {
            return Ok(());
        }
        // What it is does not matter, nor whether it is there.
        let key = self.keys.record(0);
        let both = async { tokio::try_join!(stores.raw.exists(&key), stores.processed.exists(&key)) };
        match tokio::time::timeout(ZONE, both).await {
            Ok(Ok(_)) => {
                *answered = Some(Instant::now());
                Ok(())
            }
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err(format!("a zone did not answer within {ZONE:?}")),
        }
    }
}
