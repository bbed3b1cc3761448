//! The router without a network: what is served, to whom.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Access, Sources, router};
use crate::observe::health::Check;
use crate::observe::metrics::exposition;
use crate::observe::{Meters, Snapshot, Status};

fn sources(ready: bool) -> Sources {
    let check = Check { name: "storage".into(), ok: ready, what: "both zones answer".into() };
    let status = Status { ready, checks: vec![check], ..Status::default() };
    Sources {
        status: Box::new(move || Box::pin(std::future::ready(status.clone()))),
        metrics: Box::new(|status| exposition(&Meters::default(), status, &Snapshot::default())),
        activity: Box::new(|range| match range {
            "hour" | "day" => Some(Box::pin(std::future::ready(json!({ "at": "now", "events": [] })))),
            _ => None,
        }),
    }
}

async fn ask(token: Option<&str>, ready: bool, path: &str, headers: &[(&str, &str)]) -> Response {
    let access = Access::new(([127, 0, 0, 1], 8080).into(), token);
    let mut request = Request::get(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost:8080");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let router = router(Arc::new(sources(ready)), Arc::new(access));
    router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().into()).unwrap()
}

#[tokio::test]
async fn the_page_comes_with_all_that_it_names_and_from_nowhere_else() {
    let page = text(ask(None, true, "/", &[]).await).await;
    let named = page.split(['"']).filter(|part| {
        [".js", ".css", ".svg"].iter().any(|ending| part.ends_with(ending)) && !part.contains(' ')
    });
    let named: Vec<&str> = named.collect();
    assert!(named.len() >= 3 && !page.contains("//cdn"), "{named:?}");
    for file in named {
        let found = ask(None, true, &format!("/{}", file.trim_start_matches('/')), &[]).await;
        assert_eq!(found.status(), StatusCode::OK, "{file}");
        assert!(found.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'self'"));
    }
}

#[tokio::test]
async fn readiness_says_what_is_wrong() {
    assert_eq!(ask(None, true, "/healthz", &[]).await.status(), StatusCode::OK);
    assert_eq!(ask(None, true, "/readyz", &[]).await.status(), StatusCode::OK);
    let unready = ask(None, false, "/readyz", &[]).await;
    assert_eq!(unready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let said: Value = serde_json::from_str(&text(unready).await).unwrap();
    assert_eq!((&said["ready"], &said["checks"][0]["name"]), (&json!(false), &json!("storage")));
}

#[tokio::test]
async fn numbers_need_the_token_if_there_is_one_and_health_does_not() {
    for path in ["/metrics", "/api/status", "/api/activity", "/api/live"] {
        assert_eq!(ask(None, true, path, &[]).await.status(), StatusCode::OK, "{path}");
        let refused = ask(Some("made up"), true, path, &[]).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(text(refused).await.contains("http-token"));
        let bearer = ask(Some("made up"), true, path, &[("authorization", "Bearer made up")]).await;
        assert_eq!(bearer.status(), StatusCode::OK, "{path}");
        let query = ask(Some("made up"), true, &format!("{path}?token=made%20up"), &[]).await;
        assert_eq!(query.status(), StatusCode::OK, "{path}");
        let wrong = ask(Some("made up"), true, path, &[("authorization", "Bearer made")]).await;
        assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    for path in ["/", "/healthz", "/readyz"] {
        assert_eq!(ask(Some("made up"), true, path, &[]).await.status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a_name_from_elsewhere_is_refused() {
    let refused = ask(None, true, "/api/status", &[("host", "evil.example:8080")]).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn nothing_can_be_changed_and_ranges_are_known() {
    let access = Arc::new(Access::new(([127, 0, 0, 1], 8080).into(), None));
    let post = Request::post("/api/status").header("host", "localhost").body(Body::empty()).unwrap();
    let answer = router(Arc::new(sources(true)), access).oneshot(post).await.unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(ask(None, true, "/api/activity?range=day", &[]).await.status(), StatusCode::OK);
    let unknown = ask(None, true, "/api/activity?range=year", &[]).await;
    assert_eq!(unknown.status(), StatusCode::BAD_REQUEST);
    assert!(text(unknown).await.contains("expected hour or day"));
    assert_eq!(ask(None, true, "/nothing", &[]).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn metrics_are_in_the_text_format() {
    let metrics = text(ask(None, true, "/metrics", &[]).await).await;
    for name in ["tidemill_events_total 0", "tidemill_ready 1", "# TYPE tidemill_freshness_seconds histogram"]
    {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
}
