//! One view, as text or JSON, and what it says of alarms.
//!
//! What is in doubt at the first look is looked at again until it is settled: until what waited is in the lake, or has
//! waited for too long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::alarms::{Alarm, Bounds, SILENT, Verdict};
use super::lines;
use super::model::Subject;
use super::place::Place;
use crate::cli::say;
use crate::env::{self, Micros};
use crate::observe::{At, Status};
use crate::{Error, Result};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// Doubts are settled within this time. With a longer bound what is still in doubt then counts as an alarm.
const LONGEST: Duration = Duration::from_secs(30);
/// How long the brokers may hold up a look: they say why they cannot be reached.
const BROKERS: Duration = Duration::from_secs(7);

/// Looks, prints, and fails if an alarm is on.
pub(super) async fn run(mut place: Place, bounds: &Bounds, as_json: bool, width: usize) -> Result<()> {
    let (mut hosts, mut lake) = (BTreeMap::new(), Subject::default());
    let begun = Instant::now();
    let most = bounds.freshness.clamp(SILENT, LONGEST) + Duration::from_secs(1);
    let env = env::machine();
    loop {
        look(&mut place, &mut hosts, &mut lake).await;
        let settle = begun.elapsed() > most;
        let now = env.now();
        let subjects: Vec<&Subject> = if hosts.is_empty() { vec![&lake] } else { hosts.values().collect() };
        let verdicts: Vec<Verdict> =
            subjects.iter().map(|subject| subject.verdict(bounds, now, settle)).collect();
        let doubts = verdicts.iter().any(|verdict| verdict.doubts);
        let alarms: Vec<Alarm> = verdicts.into_iter().flat_map(|verdict| verdict.alarms).collect();
        if alarms.is_empty() && doubts {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        say(&match as_json {
            true => format!("{}\n", object(&subjects, &alarms, now)),
            false => text(&subjects, &place, bounds, now, settle, width),
        })?;
        return match alarms.as_slice() {
            [] => Ok(()),
            [one] => Err(Error::stop(format!("an alarm is on: {}", one.what))),
            [first, ..] => {
                Err(Error::stop(format!("{} alarms are on; the first: {}", alarms.len(), first.what)))
            }
        };
    }
}

async fn look(place: &mut Place, hosts: &mut BTreeMap<u32, Subject>, lake: &mut Subject) {
    let found = place.hosts.ask().await;
    hosts.retain(|pid, _| found.iter().any(|host| host.pid == *pid));
    for host in found {
        let subject = hosts.entry(host.pid).or_insert_with(|| Subject::host(host.pid));
        subject.says(host.status.map(|status| (status, None)));
    }
    if hosts.is_empty() {
        lake.says(place.lake.look(BROKERS).await.map(|(status, facts)| (status, Some(facts))));
    }
}

fn text(
    subjects: &[&Subject],
    place: &Place,
    bounds: &Bounds,
    now: Micros,
    settle: bool,
    width: usize,
) -> String {
    let shown = subjects.iter().map(|subject| {
        let mut view = subject.view(bounds, now, settle);
        if subject.process.is_none() && !place.hosts.directories.is_empty() {
            view.notes.push(format!("no host runs here as this user ({})", place.hosts.looked()));
        }
        lines::text(&view, width)
    });
    shown.collect::<Vec<_>>().join("\n")
}

/// Members may be added; none is removed or changes its meaning.
fn object(subjects: &[&Subject], alarms: &[Alarm], now: Micros) -> Value {
    let hosts: Vec<Value> = subjects.iter().filter_map(|subject| host(subject)).collect();
    let lake = subjects.iter().find(|subject| subject.process.is_none()).map(|subject| lake(subject));
    json!({ "at": At(now), "ok": alarms.is_empty(), "alarms": alarms, "hosts": hosts, "lake": lake })
}

fn host(subject: &Subject) -> Option<Value> {
    let process = subject.process?;
    let mut object = figures(subject);
    // What cannot be told now was not asked for either: an old answer says nothing.
    let status = subject.status.as_ref().filter(|_| subject.error.is_none());
    object["process"] = json!(process);
    object["error"] = json!(subject.error);
    object["status"] = json!(status);
    Some(object)
}

fn figures(subject: &Subject) -> Value {
    let figures = subject.figures;
    let millis = |time: Option<Duration>| time.map(|time| time.as_millis());
    let waits = millis(figures.waits).map(json_number);
    let mut object = json!({
        "events_per_second": figures.rate,
        "lag": figures.lag,
        "waits_ms": waits,
    });
    if subject.process.is_some() {
        object["freshness_ms"] = json!(millis(figures.freshness).map(json_number));
    }
    object
}

fn json_number(millis: u128) -> u64 {
    u64::try_from(millis).unwrap_or(u64::MAX)
}

fn lake(subject: &Subject) -> Value {
    let mut object = figures(subject);
    object["error"] = json!(subject.error);
    let (Some(status), Some(facts)) = (&subject.status, &subject.facts) else { return object };
    let partitions: BTreeMap<i32, Value> = status
        .partitions
        .iter()
        .map(|(number, one)| {
            let newest = facts.newest.get(number).map(|newest| At(*newest));
            let said = json!({
                "committed": one.committed,
                "end": one.end,
                "lag": one.lag,
                "set": one.set,
                "last_commit": one.last_commit,
                "last_record": facts.last.get(number),
                "newest_event": newest,
            });
            (*number, said)
        })
        .collect();
    object["pipeline"] = json!(status.host.pipeline);
    object["topic"] = json!(status.host.topic);
    object["log"] = json!(facts.place);
    object["records"] = json!(facts.records);
    object["recent"] = json!(facts.recent);
    object["partitions"] = json!(partitions);
    object["set"] = json!(status.set);
    object["set_at"] = json!(facts.set_at);
    object["transforms"] = json!(transforms(status));
    object["brokers_error"] = json!(facts.silent);
    object
}

fn transforms(status: &Status) -> Vec<Value> {
    let all = status.transforms.iter();
    all.map(|one| json!({ "file": one.file, "name": one.name, "version": one.version, "digest": one.digest }))
        .collect()
}
