//! A Glue for tests that answers what it is told, over HTTP, and remembers what it was asked.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A status, and what is told with it.
pub(super) type Said = (u16, Value);
type Script = dyn Fn(&str, &Value, usize) -> Said + Send + Sync;

#[derive(Clone)]
pub(super) struct Fake {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

/// An error, as Glue's protocol has it.
pub(super) fn error(code: &str, message: &str) -> Said {
    (if code.starts_with("Internal") { 500 } else { 400 }, json!({"__type": code, "Message": message}))
}

/// There it is, and nothing more is said.
pub(super) fn done() -> Said {
    (200, json!({}))
}

impl Fake {
    /// `script` is given the action, what was sent, and how often that action was asked before. `Date` is so many
    /// seconds ahead.
    pub(super) async fn start(
        ahead: i64,
        script: impl Fn(&str, &Value, usize) -> Said + Send + Sync + 'static,
    ) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let fake = Fake { url, asked: Arc::default() };
        let (ours, script): (Fake, Arc<Script>) = (fake.clone(), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(ours.clone().talk(stream, script.clone(), ahead));
            }
        });
        fake
    }

    /// What was asked: actions with what was sent.
    pub(super) fn asked(&self, action: &str) -> Vec<Value> {
        let asked = self.asked.lock().expect("asked");
        asked.iter().filter(|(name, _)| name == action).map(|(_, sent)| sent.clone()).collect()
    }

    async fn talk(self, stream: TcpStream, script: Arc<Script>, ahead: i64) -> Option<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut action, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await.ok()? == 0 {
                    return None;
                }
                let Some((name, value)) = line.trim().split_once(':') else {
                    if line.trim().is_empty() {
                        break;
                    }
                    continue;
                };
                match name.to_ascii_lowercase().as_str() {
                    "x-amz-target" => action = value.trim().rsplit('.').next()?.to_owned(),
                    "content-length" => length = value.trim().parse().ok()?,
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.ok()?;
            let sent: Value = serde_json::from_slice(&body).ok()?;
            let before = self.asked(&action).len();
            self.asked.lock().expect("asked").push((action.clone(), sent.clone()));
            let (status, said) = script(&action, &sent, before);
            let said = said.to_string();
            let date =
                (chrono::Utc::now() + chrono::Duration::seconds(ahead)).format("%a, %d %b %Y %H:%M:%S GMT");
            let head = format!(
                "HTTP/1.1 {status} Said\r\ncontent-type: application/x-amz-json-1.1\r\ndate: {date}\r\ncontent-length: {}\r\n\r\n",
                said.len()
            );
            stream.write_all((head + &said).as_bytes()).await.ok()?;
        }
    }
}
