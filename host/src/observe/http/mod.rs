//! The host seen from outside: health, metrics, status, activity, and the dashboard that shows them.
//!
//! | path | what |
//! | --- | --- |
//! | `/` | the dashboard: a page that works without anything else from anywhere |
//! | `/healthz` | 200: the process answers |
//! | `/readyz` | 200: it does its work; 503: what is wrong, as JSON |
//! | `/metrics` | for Prometheus |
//! | `/api/status` | what `tidemill status --json` prints |
//! | `/api/activity` | what the committed aggregate tables say of the last hour or day (`?range=`) |
//! | `/api/live` | both as server-sent events, whenever they change (`live.rs`) |
//!
//! Nothing can be changed from here. It listens on loopback unless told otherwise, and then asks for a token
//! (`access.rs`). Connections are bounded in number, and in the time that a request takes to come. A host never fails
//! for any of it: an address that is taken is tried again.

mod access;
mod live;
mod server;

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Status;
use super::metrics::CONTENT_TYPE;
pub use access::Access;
pub use server::Server;

/// Something that is found out when it is asked for.
pub type Asked<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Finds out what happened in a range, if there is one of that name.
pub type Activity = Box<dyn Fn(&str) -> Option<Asked<Value>> + Send + Sync>;

/// What is shown.
pub struct Sources {
    /// How the host is.
    pub status: Box<dyn Fn() -> Asked<Status> + Send + Sync>,
    /// Its metrics, given that.
    pub metrics: Box<dyn Fn(&Status) -> String + Send + Sync>,
    /// What happened in a range, `hour` or `day`; none: there is no such range.
    pub activity: Activity,
}

#[derive(Deserialize)]
struct Ranged {
    #[serde(default = "hour")]
    range: String,
}

fn hour() -> String {
    "hour".into()
}

/// The files of the page: path, type, content.
const PAGE: [(&str, &str, &str); 9] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/app.js", SCRIPT, include_str!("page/app.js")),
    ("/activity.js", SCRIPT, include_str!("page/activity.js")),
    ("/charts.js", SCRIPT, include_str!("page/charts.js")),
    ("/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/live.js", SCRIPT, include_str!("page/live.js")),
    ("/operations.js", SCRIPT, include_str!("page/operations.js")),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";
/// Everything comes from the host itself, and nobody else may frame the page or learn its address.
const HEADERS: [(header::HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
];

fn router(sources: Arc<Sources>, access: Arc<Access>) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/api/status", get(status))
        .route("/api/activity", get(activity))
        .route("/api/live", get(live::live))
        .layer(middleware::from_fn_with_state(access.clone(), access::token));
    let mut open = Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready));
    for (path, kind, text) in PAGE {
        let page = move || async move { ([(header::CONTENT_TYPE, kind)], text) };
        open = open.route(path, get(page));
    }
    open.merge(guarded)
        .layer(middleware::from_fn_with_state(access, access::host))
        .layer(middleware::map_response(headers))
        .with_state(sources)
}

async fn headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(header::HeaderValue::from_static(value));
    }
    response
}

/// For who asks whether to send work here, or to start it anew: open to all, so it says no more than it must.
async fn ready(State(sources): State<Arc<Sources>>) -> Response {
    let status = (sources.status)().await;
    let code = if status.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, answer(&json!({ "ready": status.ready, "checks": status.checks }))).into_response()
}

async fn metrics(State(sources): State<Arc<Sources>>) -> impl IntoResponse {
    let status = (sources.status)().await;
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], (sources.metrics)(&status))
}

async fn status(State(sources): State<Arc<Sources>>) -> Response {
    answer(&json!((sources.status)().await))
}

async fn activity(State(sources): State<Arc<Sources>>, Query(Ranged { range }): Query<Ranged>) -> Response {
    match (sources.activity)(&range) {
        Some(asked) => answer(&asked.await),
        None => unknown(&range),
    }
}

fn unknown(range: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, &format!("range is `{}`, expected hour or day", range.escape_debug()))
}

fn answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], format!("{value}\n")).into_response()
}

fn refusal(code: StatusCode, why: &str) -> Response {
    (code, answer(&json!({ "error": why }))).into_response()
}

#[cfg(test)]
mod tests;
