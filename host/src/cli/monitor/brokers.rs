//! Asks the brokers how far the topic goes, without holding up who asks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::config::Config;
use crate::source::{self, Ends, Group};
use crate::wait::blocking;

/// A client that is a member of nothing, made at the first question.
type Client = Arc<Mutex<Option<(String, Group)>>>;

/// The brokers.
pub(super) struct Brokers {
    settings: source::Settings,
    client: Client,
    /// A question that was not answered in time.
    asked: Option<JoinHandle<Result<Ends, String>>>,
    /// What went wrong last.
    error: Option<String>,
}

impl Brokers {
    pub(super) fn new(config: &Config) -> Brokers {
        // A name that survives restarts is the host's.
        let settings = source::Settings { instance: None, ..config.source() };
        Brokers { settings, client: Client::default(), asked: None, error: None }
    }

    /// First and last offsets of a topic's partitions. An error says why they are not known yet; a question that
    /// takes longer than `most` goes on, and its answer is that of the next one.
    pub(super) async fn ends(&mut self, topic: &str, most: Duration) -> Result<Ends, String> {
        let asked = self.asked.get_or_insert_with(|| {
            let settings = source::Settings { topic: topic.into(), ..self.settings.clone() };
            let client = self.client.clone();
            tokio::spawn(async move {
                let asked = blocking("the question to the brokers", move || ask(&client, settings)).await;
                asked.map_err(|e| e.to_string())?
            })
        });
        let Ok(answer) = tokio::time::timeout(most, asked).await else {
            let silent =
                || format!("kafka at {} (setting `brokers`) has not answered", self.settings.brokers);
            return Err(self.error.clone().unwrap_or_else(silent));
        };
        self.asked = None;
        let answer = answer.unwrap_or_else(|e| Err(e.to_string()));
        self.error = answer.as_ref().err().cloned();
        answer
    }
}

fn ask(client: &Client, settings: source::Settings) -> Result<Ends, String> {
    let mut client = client.lock().map_err(|_| "an earlier question failed")?;
    if client.as_ref().is_none_or(|(topic, _)| *topic != settings.topic) {
        let topic = settings.topic.clone();
        *client = Some((topic, Group::new(settings).map_err(|e| e.to_string())?));
    }
    let (_, group) = client.as_ref().ok_or("there is no client")?;
    group.ends().map_err(|e| e.to_string())
}
