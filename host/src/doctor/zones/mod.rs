//! The zones: whether a host may do there what it does, and whether the store keeps what it promises.
//!
//! What is written lies under `_tidemill/<pipeline>/doctor/<id>/`, seen by no reader, and is removed again.

mod disk;
mod lifecycle;
mod place;
mod s3;

use tokio::sync::watch;

use super::brokers::Retention;
use super::course::Course;
use super::report::Finding;
use crate::commit::owner;
use crate::config::Config;
use crate::env::Env;
use crate::sink::{Aws, Bucket, Keys, Location, ZoneStore};
use crate::table::{REJECTED, Zone};
use place::Place;

/// What the steps of a zone need.
pub(super) struct Surroundings<'a> {
    pub(super) config: &'a Config,
    pub(super) keys: &'a Keys,
    pub(super) env: &'a Env,
    /// What AWS clients are made from; none: nothing lies there, or there are no credentials.
    pub(super) aws: Option<&'a Aws>,
    /// How long Kafka keeps events, as soon as it is known.
    pub(super) retention: watch::Receiver<Option<Retention>>,
}

/// All steps of a zone.
pub(super) async fn run(mut course: Course, zone: Zone, around: &Surroundings<'_>) {
    let Surroundings { config, keys, env, .. } = around;
    let (location, setting) = match zone {
        Zone::Raw => (&config.raw, "raw"),
        Zone::Processed => (&config.processed, "processed"),
    };
    let folder = keys.doctor(&env.fresh_id());
    match (location, around.aws) {
        (Location::S3 { bucket, prefix }, Some(aws)) => {
            let opened = Bucket::open(bucket, prefix, setting, aws);
            s3::run(course, opened, location, setting, &folder, around).await;
        }
        (Location::S3 { .. }, None) => {
            course.skip(&s3::STEPS, "credentials");
        }
        (Location::Local(root), _) => {
            let store = ZoneStore::open(zone, location.clone(), setting, keys, None, env);
            disk::run(course, store, root, setting, &folder, around).await;
        }
    }
}

/// The steps that every zone has, from the first object to the last.
async fn objects(
    course: &mut Course,
    place: &dyn Place,
    folder: &str,
    ground: &str,
    around: &Surroundings<'_>,
) {
    logs(course, place, around.config).await;
    let (first, second) = (format!("{folder}/create"), format!("{folder}/race"));
    let created = course.step("write", &[ground], place::write(place, &first)).await.is_some();
    course.step("read", &["write"], place::read(place, &first)).await;
    course.step("list", &["write"], place::list(place, folder, &first)).await;
    course.step("create if absent", &["write"], place::create_if_absent(place, &first)).await;
    let raced = course.step("race of two", &["write"], place::race(place, &second)).await.is_some();
    // Also what a failed step may have written.
    if created || raced {
        course.step("delete", &["write"], place::delete(place, &[&first, &second])).await;
    } else {
        course.skip(&["delete"], "write");
    }
}

/// A lake keeps the number of logs that it began with: there is something to say only if the setting has another.
async fn logs(course: &mut Course, place: &dyn Place, config: &Config) {
    let Ok(Some(owner)) = place.read(&Keys::owner(REJECTED)).await else { return };
    let Some(had) = owner::logs_of(&owner, &config.pipeline).filter(|had| *had != config.logs) else {
        return;
    };
    let found = format!("the lake was made with logs = {had}, the setting `logs` is {}", config.logs);
    let remedy =
        format!("set `logs` to {had}, or begin a new lake with another group and place for the tables");
    course.step::<()>("logs", &[], async { Finding::failed(found, remedy) }).await;
}
