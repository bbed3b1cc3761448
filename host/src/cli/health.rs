//! `tidemill health`: for whoever starts hosts and must know whether one is alive, as the health check of a container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::{Config, Flags};
use crate::{Error, Result};

/// Asks the host of this machine whether it is alive.
#[derive(Args)]
#[command(
    after_help = "It asks where the setting `http` says that the host serves. Exit codes: 0 alive (ready),
1 not, 2 wrong usage or configuration.

Examples:
  tidemill health                     alive: for the health check of a container
  tidemill health --ready && ...      assigned, committing, storage reachable"
)]
pub(super) struct Health {
    #[command(flatten)]
    flags: Flags,
    /// Ask whether it does its work, too
    #[arg(long)]
    ready: bool,
    /// How long the answer may take
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = super::produce::duration)]
    timeout: Duration,
}

/// The bytes of an answer.
const ANSWER: u64 = 64 << 10;

impl Health {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::load(&self.flags)?;
        let Some(address) = config.http.map(near) else {
            return Err(Error::usage("the host serves no HTTP (setting `http` is off): nobody can be asked"));
        };
        let path = if self.ready { "/readyz" } else { "/healthz" };
        let token = config.http_token.as_ref().map(|token| token.0.as_str());
        let asked = super::runtime()?
            .block_on(async { tokio::time::timeout(self.timeout, ask(address, path, token)).await });
        let said = match asked {
            Ok(Ok(said)) => said,
            Ok(Err(e)) => return Err(Error::stop(format!("no host answers at {address}: {e}"))),
            Err(_) => {
                let waited = self.timeout;
                return Err(Error::stop(format!("the host at {address} did not answer within {waited:?}")));
            }
        };
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
        let status = head.lines().next().unwrap_or_default();
        match status.split(' ').nth(1) {
            Some("200") => super::say(&format!("{}\n", body.trim())),
            _ => Err(Error::stop(format!(
                "the host at {address} answers {path} with {status}: {}",
                body.trim()
            ))),
        }
    }
}

/// Where a server that listens there is reached from this machine.
fn near(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

/// The answer to one question, as it came.
async fn ask(address: SocketAddr, path: &str, token: Option<&str>) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let question = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{token}Connection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_asked_on_this_machine() {
        let near = |text: &str| near(text.parse().unwrap()).to_string();
        assert_eq!(near("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(near("[::]:80"), "[::1]:80");
        assert_eq!(near("127.0.0.2:80"), "127.0.0.2:80");
    }
}
