//! Whether an address can be reached, and if not, why.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::ports;

/// A host and port as settings have them: `host:port`, `[::1]:9092`, `SSL://host:port`; without a port the one given.
pub(super) fn parse(text: &str, port: u16) -> Option<(String, u16)> {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest).trim();
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = if rest.is_empty() { port } else { rest.strip_prefix(':')?.parse().ok()? };
        return Some((host.into(), port));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() => Some((host.into(), port.parse().ok()?)),
        Some(_) => None,
        None if text.is_empty() => None,
        None => Some((text.into(), port)),
    }
}

/// Connects to one of a host's addresses. The error says why none can be reached.
pub(super) async fn reach(host: &str, port: u16, wait: Duration) -> Result<(SocketAddr, TcpStream), String> {
    let looked_up = tokio::time::timeout(wait, tokio::net::lookup_host((host, port))).await;
    let addresses: Vec<SocketAddr> = match looked_up {
        Err(_) => return Err(format!("the name {host} was not resolved within {wait:.1?}")),
        Ok(Err(e)) => return Err(format!("the name {host} does not resolve: {e}")),
        Ok(Ok(found)) => found.collect(),
    };
    let mut why = format!("the name {host} has no address");
    for address in &addresses {
        // All of them within the time.
        let share = wait / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        why = match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((*address, stream)),
            Ok(Err(e)) if e.kind() == ErrorKind::ConnectionRefused && ports::is_local(address.ip()) => {
                format!("connection refused: {}", ports::refused(*address))
            }
            Ok(Err(e)) if e.kind() == ErrorKind::ConnectionRefused => {
                "connection refused: that machine is there, and nothing listens on that port".into()
            }
            Ok(Err(e)) => e.to_string().to_lowercase(),
            Err(_) => format!("no answer within {share:.1?}: is it down, or does a firewall drop it?"),
        };
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let of = |text| parse(text, 9092).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(of("b1:9093").as_deref(), Some("b1 9093"));
        assert_eq!(of(" SSL://b1:9093 ").as_deref(), Some("b1 9093"));
        assert_eq!(of("b1").as_deref(), Some("b1 9092"));
        assert_eq!(of("[::1]:9").as_deref(), Some("::1 9"));
        for wrong in ["", ":9092", "b1:many", "b1:99999", "[::1"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_refused_port_and_an_unknown_name_are_told_apart() {
        let wait = Duration::from_secs(5);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it has one").port();
        assert!(reach("127.0.0.1", port, wait).await.is_ok());
        drop(listener);
        let why = reach("127.0.0.1", port, wait).await.expect_err("nobody listens");
        assert!(why.contains("connection refused: nothing"), "{why}");
        let why = reach("no-such-host.invalid", port, wait).await.expect_err("no such name");
        assert!(why.contains("no-such-host.invalid"), "{why}");
    }
}
