//! What is staged, or was stored for an epoch, and is old: the host that made it may have died. Whether it is
//! needed is for the log to say ([`Log::victims`](crate::commit::Log::victims)).

use std::time::Duration;

use super::patiently;
use crate::Result;
use crate::commit::record::Remains;
use crate::pipeline::offline::Lake;
use crate::table::Zone;

/// What kind of thing was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A multipart upload that was neither completed nor aborted.
    Upload,
    /// A file in staging on a disk.
    Staging,
    /// What a transform remembered.
    State,
}

impl What {
    /// Its name in what `gc` prints.
    pub fn name(self) -> &'static str {
        match self {
            What::Upload => "upload",
            What::Staging => "staging",
            What::State => "state",
        }
    }
}

/// Something that may be of no use any more.
#[derive(Clone, Debug)]
pub struct Leftover {
    /// What it is, as clean-up names it.
    pub remains: Remains,
    /// What kind of thing it is.
    pub what: What,
    /// How long it has been there.
    pub age: Duration,
    /// Its size, where the store tells.
    pub bytes: Option<u64>,
}

/// Everything of this pipeline that is staged or stored for an epoch and is not younger than that, for each log in the
/// order of zones and keys. What other pipelines have there is not looked at (rule L7).
pub async fn leftovers(lakes: &[Lake], older_than: Duration) -> Result<Vec<Vec<Leftover>>> {
    let mut found: Vec<Vec<Leftover>> = vec![vec![]; lakes.len()];
    let Some(any) = lakes.first() else { return Ok(found) };
    for zone in [Zone::Raw, Zone::Processed] {
        let store = any.stores.of(zone);
        for waiting in patiently(&any.env, || store.waiting()).await? {
            let age = Duration::from_secs(waiting.age);
            let of = |lake: &Lake| lake.keys.epoch_of(&waiting.key);
            let whose = lakes.iter().enumerate().find_map(|(at, lake)| Some((at, of(lake)?)));
            let Some((at, epoch)) = whose.filter(|_| age >= older_than) else { continue };
            let (what, bytes) = match &waiting.staging {
                // It may be published while we look.
                Some(staging) => (What::Staging, patiently(&any.env, || store.size(staging)).await?),
                None => (What::Upload, None),
            };
            let (key, upload, staging) = (waiting.key, waiting.upload, waiting.staging);
            let remains = Remains { epoch, zone, key, upload, staging };
            found[at].push(Leftover { remains, what, age, bytes });
        }
    }
    for (lake, found) in lakes.iter().zip(&mut found) {
        states(lake, older_than, found).await?;
        found.sort_by(|a, b| place(a).cmp(&place(b)));
    }
    Ok(found)
}

/// What transforms remembered after an epoch.
async fn states(lake: &Lake, older_than: Duration, found: &mut Vec<Leftover>) -> Result<()> {
    let (store, folder) = (&lake.stores.processed, lake.keys.states());
    for (key, bytes, age) in patiently(&lake.env, || store.aged(&folder, usize::MAX)).await? {
        let epoch =
            key.strip_prefix(&folder).and_then(|rest| rest.strip_prefix('/')).and_then(|r| r.split_once('/'));
        let (Some((epoch, _)), age) = (epoch, Duration::from_secs(age)) else { continue };
        if age >= older_than {
            let (epoch, zone) = (epoch.to_owned(), Zone::Processed);
            let remains = Remains { epoch, zone, key, upload: None, staging: None };
            found.push(Leftover { remains, what: What::State, age, bytes: Some(bytes) });
        }
    }
    Ok(())
}

fn place(leftover: &Leftover) -> (Zone, &str, Option<&str>) {
    let Remains { zone, key, upload, .. } = &leftover.remains;
    (*zone, key, upload.as_deref())
}
