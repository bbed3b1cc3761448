//! Server-sent events: the status and the activity, at once and whenever they change, at most once a second.
//! [The format](https://html.spec.whatwg.org/multipage/server-sent-events.html).

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Ranged, Sources, refusal, unknown};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// What did not change is sent again after this: who looks sees that it is still so.
const STILL: Duration = Duration::from_secs(5);
/// Keeps a connection open through whatever lies between.
const ALIVE: Duration = Duration::from_secs(15);
/// Viewers side by side.
const VIEWERS: usize = 32;

static ROOM: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(VIEWERS)));

/// What one viewer was told.
struct Viewer {
    sources: Arc<Sources>,
    range: String,
    status: Told,
    activity: Told,
    looked: Option<Instant>,
    _place: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Told {
    what: Value,
    when: Option<Instant>,
}

pub(super) async fn live(
    State(sources): State<Arc<Sources>>,
    Query(Ranged { range }): Query<Ranged>,
) -> Response {
    if (sources.activity)(&range).is_none() {
        return unknown(&range);
    }
    let Ok(_place) = ROOM.clone().try_acquire_owned() else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many viewers; try again later");
    };
    let (status, activity) = (Told::default(), Told::default());
    let viewer = Viewer { sources, range, status, activity, looked: None, _place };
    let events = futures::stream::unfold(viewer, |mut viewer| async move {
        let events = viewer.look().await;
        Some((futures::stream::iter(events.into_iter().map(Ok::<_, Infallible>)), viewer))
    });
    Sse::new(events.flatten()).keep_alive(KeepAlive::new().interval(ALIVE)).into_response()
}

impl Viewer {
    /// Waits until there is something to tell.
    async fn look(&mut self) -> Vec<Event> {
        loop {
            if let Some(looked) = self.looked {
                tokio::time::sleep(EVERY.saturating_sub(looked.elapsed())).await;
            }
            self.looked = Some(Instant::now());
            let mut events = Vec::new();
            let status = json!((self.sources.status)().await);
            events.extend(self.status.tell("status", status));
            if let Some(asked) = (self.sources.activity)(&self.range) {
                events.extend(self.activity.tell("activity", asked.await));
            }
            if !events.is_empty() {
                return events;
            }
        }
    }
}

impl Told {
    fn tell(&mut self, name: &str, now: Value) -> Option<Event> {
        let timeless = |value: &Value| {
            let mut value = value.clone();
            value.as_object_mut().map(|members| members.remove("at"));
            value
        };
        let what = timeless(&now);
        if what == self.what && self.when.is_some_and(|when| when.elapsed() < STILL) {
            return None;
        }
        (self.what, self.when) = (what, Some(Instant::now()));
        Some(Event::default().event(name).data(now.to_string()))
    }
}
