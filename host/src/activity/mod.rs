//! What happened in the last hour and day, read from the committed aggregate tables: what the dashboard shows.
//!
//! ```text
//! files that readers see ──> rows ──> sums by minute and quarter of an hour ──> Overview
//!      follow.rs            rows.rs              sums.rs
//! ```
//!
//! It sees what every reader of the lake sees, whichever host made it, and nothing that is not committed: a file is
//! read once it is published. Work is done only while somebody looks ([`WATCHED`]), and what was read is dropped when
//! nobody has looked for a while ([`KEPT`]). Memory is bounded: times by the day, names by [`sums::NAMES`] in each
//! bucket, a file by [`rows::LARGEST`].

mod follow;
mod rows;
mod sums;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::env::Env;
use crate::observe::At;
use crate::sink::{Keys, ZoneStore};
use follow::Follower;
use sums::Sums;

/// How long after a look the tables are followed.
const WATCHED: Duration = Duration::from_secs(60);
/// How long after the last look everything is kept.
const KEPT: Duration = Duration::from_secs(900);
/// Between two rounds: dashboards are live within seconds, and a listing costs something on S3.
const ROUND: Duration = Duration::from_secs(2);
/// … and each log has listings of its own: with so many, a round is twice as long.
const LOGS: u32 = 16;
/// How long the first look waits for something to show.
const FIRST: Duration = Duration::from_secs(2);

/// A span of time up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Range {
    /// The last hour, by the minute.
    #[default]
    Hour,
    /// The last day, by the quarter of an hour.
    Day,
}

/// A name and its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The events.
    pub events: u64,
}

/// Sums over a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Events of the range.
    pub events: u64,
    /// Distinct users of the current clock hour, or of the current day (UTC).
    pub users: Option<u64>,
    /// Distinct sessions, likewise.
    pub sessions: Option<u64>,
}

/// What is still to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Loading {
    /// Files.
    pub files: usize,
}

/// What happened in a range: `/api/activity` as it is. Members may come; none goes or gets another meaning.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    /// When this was so.
    pub at: At,
    /// The range.
    pub range: Range,
    /// Where it begins …
    pub from: At,
    /// … and ends, both at multiples of a step.
    pub to: At,
    /// Seconds of a step.
    pub step_s: u32,
    /// None: everything is read.
    pub loading: Option<Loading>,
    /// Why the lake could not be read.
    pub error: Option<String>,
    /// Tables that there are not.
    pub missing: Vec<&'static str>,
    /// Events in each step.
    pub events: Vec<(At, u64)>,
    /// Distinct users in each step: of its minute, or of that with the most.
    pub users: Vec<(At, u64)>,
    /// Sums.
    pub totals: Totals,
    /// Events by type, those with the most first.
    pub event_types: Vec<Named>,
    /// … by device.
    pub devices: Vec<Named>,
    /// The pages with the most.
    pub pages: Vec<Named>,
    /// The locations with the most.
    pub locations: Vec<Named>,
}

/// Follows the aggregate tables for whoever looks. Cheap to clone.
#[derive(Clone)]
pub struct Activity(Arc<Shared>);

struct Shared {
    store: Arc<ZoneStore>,
    /// Of each shard.
    keys: Vec<Keys>,
    env: Env,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sums: Sums,
    loading: usize,
    error: Option<String>,
    missing: Vec<&'static str>,
    /// When somebody looked last; none: nobody follows.
    looked: Option<Instant>,
    /// Somebody looked at the whole day: the hours before the last ones are read, too.
    day: bool,
    /// A round was made.
    begun: bool,
}

impl Activity {
    /// Of a pipeline's tables in its processed zone, with the keys of its shards. Nothing is read yet.
    pub fn new(store: Arc<ZoneStore>, keys: Vec<Keys>, env: Env) -> Activity {
        Activity(Arc::new(Shared { store, keys, env, state: Mutex::default() }))
    }

    /// What is known now. The first look begins to read; it waits for a moment. Must be called within a runtime.
    pub async fn look(&self, range: Range) -> Overview {
        if self.begin(range) {
            tokio::spawn(follow(self.0.clone()));
        }
        let deadline = Instant::now() + FIRST;
        while !self.0.state().begun && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let state = self.0.state();
        Overview {
            loading: (!state.begun || state.loading > 0).then_some(Loading { files: state.loading }),
            error: state.error.clone(),
            missing: state.missing.clone(),
            ..state.sums.overview(range, self.0.env.now())
        }
    }

    /// Notes a look. True: somebody has to begin to follow.
    fn begin(&self, range: Range) -> bool {
        let mut state = self.0.state();
        state.day |= range == Range::Day;
        state.looked.replace(Instant::now()).is_none()
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pause between two rounds.
    fn round(&self) -> Duration {
        let more = u32::try_from(self.keys.len()).unwrap_or(u32::MAX).saturating_sub(1);
        ROUND + ROUND * more / LOGS
    }

    /// How long nobody has looked.
    fn unwatched(&self) -> Duration {
        self.state().looked.map_or(Duration::MAX, |looked| looked.elapsed())
    }
}

/// Reads on as long as somebody looks.
async fn follow(shared: Arc<Shared>) {
    let mut follower = Follower::default();
    loop {
        match shared.unwatched() {
            unwatched if unwatched > KEPT => break,
            unwatched if unwatched > WATCHED => tokio::time::sleep(ROUND).await,
            _ => {
                follower.round(&shared).await;
                // What waits is read without a pause, and what is newer is looked for in between.
                if follower.idle() {
                    tokio::time::sleep(shared.round()).await;
                }
            }
        }
    }
    *shared.state() = State::default();
}
