//! `tidemill doctor`: step by step what a new user gets wrong, and what to do about it.
//!
//! An area is a course of steps, one after the other; areas run side by side. A step has a bounded time, all of them
//! together less than a minute. It is tried unless one that it needs has failed, and what it leaves behind is nothing:
//! objects and tables that it tries things on have names of their own and are removed. It joins no group, and a host
//! that runs does not notice.

mod brokers;
mod course;
mod glue;
mod greeting;
mod host;
mod machine;
mod net;
mod ports;
mod refusals;
pub mod report;
mod settings;
mod transforms;
mod zones;

use std::time::{Duration, Instant};

use aws_credential_types::provider::ProvideCredentials;
use futures::FutureExt;
use tokio::sync::{mpsc, watch};

use crate::Result;
use crate::config::{CatalogKind, Config, Layers};
use crate::env::Env;
use crate::error::chain;
use crate::sink::{Aws, Location};
use crate::table::Zone;
use brokers::Retention;
use course::Course;
pub use course::{Event, Terms};
use report::Finding;
use zones::Surroundings;

/// All of it takes no longer, whatever does not answer.
pub const WHOLE: Duration = Duration::from_secs(55);

/// What can be looked at by itself. The configuration always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Brokers, topic, group
    Brokers,
    /// Raw and processed zone
    Zones,
    /// The catalog of tables
    #[value(alias = "glue")]
    Catalog,
    /// Components, and what they make together
    Transforms,
    /// Disks, memory, open files
    Machine,
    /// The host that runs here, and its address
    Host,
}

/// The areas of a part, in the order of the report.
fn areas(part: Part) -> &'static [&'static str] {
    match part {
        Part::Brokers => &["brokers"],
        Part::Zones => &["raw", "processed"],
        Part::Catalog => &["catalog"],
        Part::Transforms => &["transforms"],
        Part::Machine => &["machine"],
        Part::Host => &["host"],
    }
}

const PARTS: [Part; 6] =
    [Part::Brokers, Part::Zones, Part::Catalog, Part::Transforms, Part::Machine, Part::Host];

/// The areas that are looked at, in the order of the report. Which need AWS is not known before the configuration is.
pub fn order(only: &[Part]) -> Vec<&'static str> {
    let chosen = PARTS.into_iter().filter(|part| only.is_empty() || only.contains(part));
    let mut order = vec!["configuration"];
    for part in chosen {
        if matches!(part, Part::Zones | Part::Catalog) && !order.contains(&"aws") {
            order.push("aws");
        }
        order.extend(areas(part));
    }
    order
}

/// Looks at all that was chosen. What happens goes to `out`, area by area as it comes.
pub async fn examine(
    layers: Result<Layers>,
    only: &[Part],
    limit: Duration,
    env: &Env,
    out: &mpsc::UnboundedSender<Event>,
) {
    let secrets = settings::secrets(layers.as_ref().ok());
    let terms = Terms { limit, end: Instant::now() + WHOLE, secrets };
    let order = order(only);
    let course = |area: &'static str| Course::new(area, &terms, out);
    let mut first = course("configuration");
    let Some((config, keys)) = settings::run(&mut first, layers).await else {
        for area in order.iter().skip(1) {
            course(area).skip(&["all"], "configuration");
        }
        return;
    };
    drop(first);
    let wanted = |area: &str| order.contains(&area);
    let (told, retention) = watch::channel((!wanted("brokers")).then_some(Retention::Unknown));
    let kafka = async {
        if wanted("brokers") {
            brokers::run(course("brokers"), &config, env, told).await;
        }
    };
    let lake = async {
        if !wanted("aws") {
            return;
        }
        let needs_aws =
            (wanted("raw") && on_s3(&config)) || (wanted("catalog") && config.catalog == CatalogKind::Glue);
        let steps = course("aws");
        // Dropped without a step, it is over.
        let aws = if needs_aws {
            credentials(steps).await
        } else {
            drop(steps);
            None
        };
        let around = Surroundings { config: &config, keys: &keys, env, aws: aws.as_ref(), retention };
        let zone = |area: &'static str, zone: Zone| {
            let (course, around) = (wanted(area).then(|| course(area)), &around);
            async move {
                if let Some(course) = course {
                    zones::run(course, zone, around).await;
                }
            }
        };
        let catalog = async {
            if wanted("catalog") {
                catalog(course("catalog"), &config, aws.as_ref(), env).await;
            }
        };
        let (raw, processed) = (zone("raw", Zone::Raw), zone("processed", Zone::Processed));
        futures::future::join_all([raw.boxed(), processed.boxed(), catalog.boxed()]).await;
    };
    let transforms = async {
        if wanted("transforms") {
            transforms::run(course("transforms"), &config).await;
        }
    };
    let here = async {
        if wanted("machine") {
            machine::run(course("machine"), &config).await;
        }
        if wanted("host") {
            host::run(course("host"), &keys, &config.sockets, config.http).await;
        }
    };
    // In boxes: what AWS clients make is large, and a thread's stack is not.
    futures::future::join_all([kafka.boxed(), lake.boxed(), transforms.boxed(), here.boxed()]).await;
}

fn on_s3(config: &Config) -> bool {
    [&config.raw, &config.processed].iter().any(|zone| matches!(zone, Location::S3 { .. }))
}

/// What AWS clients are made from, if there are credentials.
async fn credentials(mut course: Course) -> Option<Aws> {
    let limit = course.limit();
    course
        .step("credentials", &[], async {
            let remedy = "aws configure, AWS_PROFILE=NAME (aws sso login), or AWS_ACCESS_KEY_ID and \
                          AWS_SECRET_ACCESS_KEY, or give this machine or container a role";
            let aws = Aws::load(None).await;
            let region = aws.sdk.region().map_or("us-east-1", |region| region.as_ref()).to_owned();
            let Some(provider) = aws.sdk.credentials_provider() else {
                return Finding::failed("there are no AWS credentials", remedy);
            };
            match tokio::time::timeout(limit.mul_f32(0.9), provider.provide_credentials()).await {
                Ok(Ok(found)) if found.expiry().is_some_and(|at| at < std::time::SystemTime::now()) => {
                    Finding::failed("the AWS credentials have expired", remedy)
                }
                Ok(Ok(_)) => Finding::ok(format!("found; region {region}")).with(aws),
                Ok(Err(e)) => {
                    let why = chain(&e);
                    // What follows is a list of all that could have been.
                    let why = why.split(" Attempted").next().unwrap_or_default().trim_end_matches('.');
                    Finding::failed(format!("there are no AWS credentials: {why}"), remedy)
                }
                Err(_) => Finding::failed("who should hand out AWS credentials does not answer", remedy),
            }
        })
        .await
}

async fn catalog(mut course: Course, config: &Config, aws: Option<&Aws>, env: &Env) {
    match config.catalog {
        CatalogKind::Glue => glue::run(course, config, aws, env).await,
        CatalogKind::Local => {
            course.step("local", &[], async { Finding::ok("files in the processed zone: see there") }).await;
        }
        CatalogKind::None => {
            course
                .step("none", &[], async { Finding::ok("tables are registered nowhere (setting `catalog`)") })
                .await;
        }
    }
}
