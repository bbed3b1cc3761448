//! Who may look: everybody on this machine, or who has the token.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::refusal;
use crate::digest::sha256;

/// What is asked of who looks.
pub struct Access {
    /// The digest of the token, so that how long a comparison takes tells nothing of it.
    token: Option<String>,
    address: SocketAddr,
}

impl Access {
    /// To a server at that address; with a token only for those who have it.
    pub fn new(address: SocketAddr, token: Option<&str>) -> Access {
        Access { token: token.map(|token| sha256(token.as_bytes())), address }
    }

    fn allows(&self, given: Option<&str>) -> bool {
        match &self.token {
            Some(token) => given.is_some_and(|given| sha256(given.as_bytes()) == *token),
            None => true,
        }
    }

    /// Without a token only who addresses this machine by its own name is let in: a page from elsewhere, whose name
    /// was made to lead here, must not read anything.
    fn knows(&self, host: Option<&str>) -> bool {
        if self.token.is_some() {
            return true;
        }
        let Some(host) = host else { return false };
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let own = |ip: IpAddr| ip.is_loopback() || ip == self.address.ip();
        name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(own)
    }
}

/// Lets through who has the token: as a bearer, or, where a browser cannot say it otherwise, as `?token=`.
pub(super) async fn token(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
    let query = request.uri().query().unwrap_or_default();
    let query = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "token");
    let query = query.map(|(_, value)| value.into_owned());
    if access.allows(bearer.or(query.as_deref())) {
        return next.run(request).await;
    }
    let mut refused = refusal(
        StatusCode::UNAUTHORIZED,
        "a token is needed (setting `http-token` of the host): Authorization: Bearer …",
    );
    refused.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    refused
}

/// Lets through who addresses this server, and not another name that leads here.
pub(super) async fn host(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    if access.knows(host) {
        return next.run(request).await;
    }
    refusal(
        StatusCode::FORBIDDEN,
        "address this host as localhost or by its own address, or set `http-token`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        ([127, 0, 0, 1], 8080).into()
    }

    #[test]
    fn only_the_token_opens() {
        let access = Access::new(address(), Some("made up"));
        assert!(access.allows(Some("made up")));
        assert!(!access.allows(Some("made up ")) && !access.allows(Some("")) && !access.allows(None));
        assert!(Access::new(address(), None).allows(None));
    }

    #[test]
    fn names_from_elsewhere_that_lead_here_do_not() {
        let access = Access::new(address(), None);
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.0.0.1", "[::1]:8080", "127.9.9.9"]
        {
            assert!(access.knows(Some(host)), "{host}");
        }
        for host in
            ["evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1:8080", "", ":8080"]
        {
            assert!(!access.knows(Some(host)), "{host}");
        }
        assert!(!access.knows(None));
        assert!(Access::new(address(), Some("t")).knows(Some("lake.example")));
    }
}
