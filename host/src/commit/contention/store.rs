//! A store that takes as long as S3 does. Nothing fails here: `simulation` sees to that.
//!
//! The time of a request is lognormal, through two published points: half of the requests, and all but one in a
//! thousand. A write is there when it is answered; of two conditional writes to one key the first to finish wins,
//! and the other is told so when its own time is over. A read says what is true after half of its time.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::super::record::Remains;
use super::super::simulation::Random;
use super::super::store::{Published, Store};
use super::clock::Clock;
use crate::env::{self, Micros};
use crate::sink::{Keys, StagedFile};
use crate::{Result, digest};

/// How long requests take, in milliseconds: of half of them, and of all but one in a thousand.
#[derive(Clone, Copy)]
pub(super) struct Latency {
    pub(super) name: &'static str,
    pub(super) get: (f64, f64),
    pub(super) put: (f64, f64),
}

/// The 99.9th percentile of a normal distribution.
const P999: f64 = 3.09;

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// PUT of a record.
    Record,
    /// PUT of a state.
    State,
    /// PUT of a summary or an inventory.
    Summary,
    /// CreateMultipartUpload, UploadPart and CompleteMultipartUpload of files.
    File,
    Get,
    Head,
}

pub(super) struct State {
    random: Random,
    ids: u64,
    pub(super) objects: BTreeMap<String, Vec<u8>>,
    pub(super) visible: BTreeSet<String>,
    pub(super) requests: BTreeMap<Kind, u64>,
    /// Slots that somebody wanted and another host got.
    pub(super) lost: u64,
}

/// The store, shared by all hosts.
pub(super) struct World {
    pub(super) clock: Arc<Clock>,
    pub(super) latency: Latency,
    pub(super) keys: Keys,
    state: Mutex<State>,
}

impl World {
    pub(super) fn new(seed: u64, latency: Latency) -> World {
        let state = State {
            random: Random::new(seed),
            ids: 0,
            objects: BTreeMap::new(),
            visible: BTreeSet::new(),
            requests: BTreeMap::new(),
            lost: 0,
        };
        let keys = Keys::new("p").expect("a plain name");
        World { clock: Arc::default(), latency, keys, state: Mutex::new(state) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment within a span of time, any as likely as any other.
    pub(super) fn within(&self, span: Micros) -> Micros {
        let span = usize::try_from(span).expect("a span");
        Micros::try_from(self.state().random.below(span.max(1))).expect("small")
    }

    /// A request goes out. How long it will take.
    fn begin(&self, kind: Kind) -> Micros {
        let mut state = self.state();
        *state.requests.entry(kind).or_default() += 1;
        let (half, most) =
            if matches!(kind, Kind::Get | Kind::Head) { self.latency.get } else { self.latency.put };
        let mut uniform = || (state.random.below(1 << 32) as f64 + 0.5) / (1_u64 << 32) as f64;
        let (a, b) = (uniform(), uniform());
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        let millis = half * ((most / half).ln() / P999 * normal).exp();
        Micros::try_from(Duration::from_secs_f64(millis / 1e3).as_micros()).expect("small")
    }

    /// A write, or another request that is over when it is answered.
    pub(super) async fn write(&self, kind: Kind) {
        let time = self.begin(kind);
        self.clock.sleep(time).await;
    }

    async fn read<T>(&self, kind: Kind, look: impl Fn(&State) -> T) -> T {
        let time = self.begin(kind);
        self.clock.sleep(time / 2).await;
        let seen = look(&self.state());
        self.clock.sleep(time - time / 2).await;
        seen
    }
}

/// The store as one host sees it.
#[derive(Clone)]
pub(super) struct Client(pub(super) Arc<World>);

#[async_trait]
impl Store for Client {
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<bool> {
        let (slot, state) = (key.contains("/log/"), key.contains("/state/"));
        self.0
            .write(match (slot, state) {
                (true, _) => Kind::Record,
                (_, true) => Kind::State,
                _ => Kind::Summary,
            })
            .await;
        let mut state = self.0.state();
        if state.objects.contains_key(key) {
            state.lost += u64::from(slot);
            return Ok(false);
        }
        state.objects.insert(key.into(), bytes.into());
        Ok(true)
    }

    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.0.read(Kind::Get, |state| state.objects.get(key).cloned()).await)
    }

    async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.0.read(Kind::Head, |state| state.objects.contains_key(key)).await)
    }

    async fn publish(&self, file: &StagedFile) -> Result<Published> {
        self.0.write(Kind::File).await;
        self.0.state().visible.insert(file.key.clone());
        self.0.read(Kind::Head, |_| ()).await;
        Ok(Published::Visible)
    }

    async fn remove(&self, _: &StagedFile) -> Result<()> {
        unreachable!("nothing is lost here")
    }

    async fn clear(&self, _: &Remains) -> Result<()> {
        unreachable!("nothing is cleaned up here")
    }
}

impl env::World for Client {
    fn now(&self) -> Micros {
        self.0.clock.now()
    }

    fn fresh_id(&self) -> String {
        let mut state = self.0.state();
        state.ids += 1;
        // As random as an id is: compression and sizes are not looked at, but names must not be alike.
        digest::sha256(&state.ids.to_be_bytes())[..32].into()
    }

    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.0.clock.sleep(Micros::try_from(time.as_micros()).expect("short")))
    }
}
