//! What speaks at an address: Kafka, TLS, or something else. Asked with one request of each, before anything is sent
//! that matters.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// An answer as it should be.
    Right,
    /// Something else: its beginning, as far as it can be printed.
    Else(String),
    /// Nothing: the connection was ended.
    Closed,
    /// Nothing within the time.
    Silence,
}

/// Kafka's question which requests a broker knows (ApiVersions, version 0), which needs no permission.
const API_VERSIONS: &[u8] = b"\x00\x00\x00\x18\x00\x12\x00\x00tide\x00\x0etidemilldoctor";
/// The number of the question, which stands in the answer.
const CORRELATION: &[u8] = b"tide";

/// The beginning of TLS: a client that knows TLS 1.2. Whoever speaks any TLS answers with a handshake or an alert.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\x59\x01\x00\x00\x55\x03\x03\
    tidemill doctor asks: TLS or no?\x00\
    \x00\x0c\xc0\x2f\xc0\x30\xc0\x2b\xc0\x2c\x00\x9c\x00\x2f\x01\x00\
    \x00\x20\
    \x00\x0a\x00\x06\x00\x04\x00\x17\x00\x18\
    \x00\x0b\x00\x02\x01\x00\
    \x00\x0d\x00\x0c\x00\x0a\x04\x03\x08\x04\x04\x01\x05\x03\x06\x01";

/// Whether Kafka answers without TLS.
pub(super) async fn kafka(stream: &mut TcpStream, wait: Duration) -> Heard {
    ask(stream, API_VERSIONS, wait, |answer| {
        // Bytes of the rest, the number, an error of two bytes.
        answer.len() >= 10 && answer.starts_with(&[0]) && answer.get(4..8) == Some(CORRELATION)
    })
    .await
}

/// Whether TLS is spoken.
pub(super) async fn tls(stream: &mut TcpStream, wait: Duration) -> Heard {
    const ALERT: u8 = 0x15;
    const HANDSHAKE: u8 = 0x16;
    ask(stream, CLIENT_HELLO, wait, |answer| matches!(answer, [ALERT | HANDSHAKE, 3, ..])).await
}

async fn ask(
    stream: &mut TcpStream,
    question: &[u8],
    wait: Duration,
    right: impl Fn(&[u8]) -> bool,
) -> Heard {
    let exchange = async {
        // Who has said its piece and closed already is listened to all the same.
        let _ = stream.write_all(question).await;
        let (mut answer, mut part) = (Vec::new(), [0; 512]);
        while !right(&answer) && answer.len() < 64 {
            match stream.read(&mut part).await {
                // Who breaks off has said something all the same.
                Ok(0) | Err(_) => break,
                Ok(read) => answer.extend_from_slice(part.get(..read).unwrap_or_default()),
            }
        }
        answer
    };
    match tokio::time::timeout(wait, exchange).await {
        Err(_) => Heard::Silence,
        Ok(answer) if right(&answer) => Heard::Right,
        Ok(answer) if !answer.is_empty() => Heard::Else(printable(&answer)),
        Ok(_) => Heard::Closed,
    }
}

/// The first line, without what a terminal would take for commands.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|letter| !letter.is_control()).take(60).collect()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::source::embedded::Broker;

    const WAIT: Duration = Duration::from_secs(5);

    async fn connect(address: &str) -> TcpStream {
        TcpStream::connect(address).await.expect("it listens")
    }

    #[test]
    fn the_lengths_in_the_questions_are_true() {
        assert_eq!(API_VERSIONS.len(), 4 + 0x18);
        assert_eq!(CLIENT_HELLO.len(), 5 + 0x59);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broker_is_known_by_its_answer() {
        let broker = Broker::start("events", 1).expect("a broker");
        assert_eq!(kafka(&mut connect(&broker.address()).await, WAIT).await, Heard::Right);
        assert_ne!(
            tls(&mut connect(&broker.address()).await, Duration::from_millis(300)).await,
            Heard::Right
        );
    }

    #[tokio::test]
    async fn who_speaks_something_else_is_quoted_and_who_is_silent_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has one").to_string();
        tokio::spawn(async move {
            for answer in [&b"SSH-2.0-Open\x1b[31mSSH\r\nmore"[..], b"\x15\x03\x03\x00\x02\x02\x46", b""] {
                let (mut stream, _) = listener.accept().await.expect("a client");
                stream.write_all(answer).await.expect("it listens");
            }
            let (_held, _) = listener.accept().await.expect("a client");
            std::future::pending::<()>().await;
        });
        let heard = kafka(&mut connect(&address).await, WAIT).await;
        assert_eq!(heard, Heard::Else("SSH-2.0-Open[31mSSH".into()));
        assert_eq!(tls(&mut connect(&address).await, WAIT).await, Heard::Right);
        assert_eq!(kafka(&mut connect(&address).await, WAIT).await, Heard::Closed);
        let short = Duration::from_millis(50);
        assert_eq!(kafka(&mut connect(&address).await, short).await, Heard::Silence);
    }
}
