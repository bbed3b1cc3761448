//! The configuration: which files and variables were used, and whether it makes sense.

use super::course::Course;
use super::report::Finding;
use crate::Result;
use crate::config::{Config, Layers};
use crate::sink::Keys;

/// Values that no line may show: of librdkafka, and those of AWS in the environment.
pub(super) fn secrets(layers: Option<&Layers>) -> Vec<String> {
    let own = layers.map(Layers::secrets).unwrap_or_default();
    let own = own.into_iter().map(|(value, _)| value.to_owned());
    let aws =
        ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"].map(|name| std::env::var(name).unwrap_or_default());
    // What is as short as this is no secret, and stands in many words.
    own.chain(aws).filter(|value| value.len() >= 4).collect()
}

/// The step. None: nothing else can be looked at.
pub(super) async fn run(course: &mut Course, layers: Result<Layers>) -> Option<(Config, Keys, Layers)> {
    course.step("configuration", &[], async { judge(layers) }).await
}

fn judge(layers: Result<Layers>) -> Finding<(Config, Keys, Layers)> {
    let made = layers.and_then(|layers| {
        let config = Config::of(&layers)?;
        let keys = Keys::new(&config.pipeline)?;
        Ok((config, keys, layers))
    });
    let (config, keys, layers) = match made {
        Ok(made) => made,
        Err(e) => {
            return Finding::failed(e.to_string(), "correct it; `tidemill run --help` lists the settings");
        }
    };
    let said = layers.said();
    let said: Vec<String> =
        said.iter().map(|(place, keys)| format!("{place}: {}", keys.join(", "))).collect();
    let used =
        if said.is_empty() { "defaults alone".into() } else { format!("{}; else defaults", said.join("; ")) };
    let open = layers.secrets().into_iter().filter_map(|(_, file)| file).find(|file| others_read(file));
    let finding = match (layers.strange(), open) {
        ([], None) => Finding::ok(used),
        ([], Some(file)) => Finding::warning(
            format!("{used}; {file} holds a secret and others can read it"),
            format!("chmod 600 {file}"),
        ),
        (strange, _) => Finding::warning(
            format!("{used}; {}", strange.join("; ")),
            "`tidemill run --print-config` shows what counts",
        ),
    };
    finding.with((config, keys, layers))
}

#[cfg(unix)]
fn others_read(file: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(file).is_ok_and(|found| found.mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn others_read(_file: &str) -> bool {
    false
}
