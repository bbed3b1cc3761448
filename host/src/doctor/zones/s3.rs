//! A zone on S3, or on what speaks its protocol: right by right.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use super::super::brokers::Retention;
use super::super::course::Course;
use super::super::report::Finding;
use super::super::{net, ports};
use super::place::{self, Objects};
use super::{Surroundings, lifecycle};
use crate::Result;
use crate::env::Env;
use crate::sink::{Answer, Answered, Bucket, Failure, Location, explain};

/// Its steps, in their order.
pub(super) const STEPS: [&str; 11] = [
    "reachable",
    "clock",
    "bucket",
    "write",
    "read",
    "list",
    "create if absent",
    "race of two",
    "delete",
    "multipart",
    "lifecycle",
];

/// A clock that is further off is told of.
const SKEWED: i64 = 1;
/// … and one so far off is not understood by S3 any more.
const REFUSED: i64 = 900;

/// All steps.
pub(super) async fn run(
    mut course: Course,
    opened: Result<Bucket>,
    location: &Location,
    setting: &str,
    folder: &str,
    around: &Surroundings<'_>,
) {
    let (limit, Location::S3 { bucket, prefix }) = (course.limit(), location) else { return };
    let reached = course.step("reachable", &[], reach(opened, setting, around.env, limit)).await;
    let Some(Reached { store, answered, skew }) = reached else {
        course.skip(&STEPS[1..], "reachable");
        return;
    };
    course.step("clock", &["reachable"], async { clock(skew) }).await;
    let zone = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    let objects = Objects {
        store: store.store(),
        root: Path::from(prefix.as_str()),
        name: location.to_string(),
        arn: format!("arn:aws:s3:::{bucket}/{zone}*"),
        bucket_arn: format!("arn:aws:s3:::{bucket}"),
    };
    course.step("bucket", &["clock"], list(&objects, &store, &answered, bucket, setting)).await;
    super::objects(&mut course, &objects, folder, "bucket", around).await;
    course.step("multipart", &["bucket"], multipart(&objects, &store, folder, &zone)).await;
    let retention = retention(around).await;
    course.step("lifecycle", &["bucket"], rules(&store, &zone, retention)).await;
}

/// A store that has answered.
struct Reached {
    store: Bucket,
    answered: Answered,
    /// Seconds by which its clock is ahead of ours; none: it did not say.
    skew: Option<i64>,
}

/// Whether anything answers at the store's address. What it answers is looked at later.
async fn reach(opened: Result<Bucket>, setting: &str, env: &Env, limit: Duration) -> Finding<Reached> {
    let store = match opened {
        Ok(store) => store,
        Err(e) => return Finding::failed(e.to_string(), format!("correct the setting `{setting}`")),
    };
    let endpoint = store.endpoint().to_owned();
    let begun = env.now();
    let answer = tokio::time::timeout(limit.mul_f32(0.5), store.ask("HEAD", &[])).await;
    let ended = env.now();
    let why = match answer {
        Ok(Ok(answered)) => {
            let skew = answered.date.map(|date| skew(date, begun, ended));
            return Finding::ok(format!("{endpoint} answers")).with(Reached { store, answered, skew });
        }
        Ok(Err((Answer::Silent, why))) => why,
        Ok(Err((_, why))) => {
            return Finding::failed(
                why,
                "see AWS_PROFILE, AWS_ENDPOINT_URL_S3 and the setting; `aws sts get-caller-identity` tells who you are",
            );
        }
        Err(_) => "no answer".into(),
    };
    // The client's words are its own: say it as for brokers, if the address cannot be reached at all.
    let address = url::Url::parse(store.address()).ok();
    let address = address.and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)));
    let mut why = why;
    if let Some((host, port)) = address {
        match net::reach(&host, port, limit.mul_f32(0.25)).await {
            Err(plainly) => why = plainly,
            Ok((at, _)) => {
                if let Some(who) = ports::held(at) {
                    why = format!("{why}; {who} listens there: is it S3?");
                }
            }
        }
    }
    Finding::failed(
        format!("cannot reach {endpoint}: {why}"),
        "correct AWS_ENDPOINT_URL_S3 (unset for Amazon's own) or AWS_REGION, or start the store",
    )
}

/// Seconds by which the store's clock is ahead: what is sure, as its date has no fractions and came some time between.
fn skew(date: DateTime<Utc>, begun: i64, ended: i64) -> i64 {
    let least = date.timestamp_micros();
    let most = least.saturating_add(1_000_000);
    let micros = match (least > ended, most < begun) {
        (true, _) => least - ended,
        (_, true) => most - begun,
        _ => 0,
    };
    micros / 1_000_000
}

fn clock(skew: Option<i64>) -> Finding {
    let remedy = "set this machine's clock by NTP: timedatectl set-ntp true";
    let way = |skew: i64| if skew > 0 { "behind" } else { "ahead of" };
    match skew {
        None => Finding::ok("the store does not tell the time"),
        Some(skew) if skew.abs() > REFUSED => Finding::failed(
            format!(
                "this machine's clock is {} s {} the store's: S3 refuses requests that are {} minutes off",
                skew.abs(),
                way(skew),
                REFUSED / 60
            ),
            remedy,
        ),
        Some(skew) if skew.abs() > SKEWED => Finding::warning(
            format!("this machine's clock is {} s {} the store's", skew.abs(), way(skew)),
            remedy,
        ),
        Some(_) => Finding::ok("agrees with the store's"),
    }
}

/// Whether the bucket exists, here, and may be listed.
async fn list(
    objects: &Objects<'_>,
    store: &Bucket,
    head: &Answered,
    bucket: &str,
    setting: &str,
) -> Finding {
    if let Some(region) =
        head.region.as_deref().filter(|region| *region != store.region() && head.status >= 300)
    {
        return Finding::failed(
            format!("the bucket is in {region}, and requests go to {}", store.region()),
            format!("AWS_REGION={region}"),
        );
    }
    let missing = || {
        let create = match store.endpoint().contains("amazonaws.com") {
            true => format!("aws s3 mb s3://{bucket} --region {}", store.region()),
            false => format!("aws --endpoint-url {} s3 mb s3://{bucket}", store.endpoint()),
        };
        Finding::failed(
            format!("the bucket {bucket} does not exist at {}", store.endpoint()),
            format!("{create}; or correct the setting `{setting}`"),
        )
    };
    let prefix = objects.root.as_ref();
    let root = (!prefix.is_empty()).then(|| objects.root.clone());
    // The first page tells.
    match objects.store.list(root.as_ref()).try_next().await.map_err(|e| explain(&e)) {
        Ok(_) => Finding::ok(format!("{bucket} exists and may be listed (s3:ListBucket)")),
        Err((Answer::MissingBucket, _)) => missing(),
        Err((Answer::Missing, _)) if head.status == 404 => missing(),
        Err(failure) => {
            let (found, remedy) = objects.refused("s3:ListBucket", &failure);
            Finding::failed(found, remedy)
        }
    }
}

/// An upload in parts that is aborted, and one that is completed.
async fn multipart(objects: &Objects<'_>, store: &Bucket, folder: &str, prefix: &str) -> Finding {
    let failed = |action: &str, failure: Failure| {
        let (found, remedy) = objects.refused(action, &failure);
        Finding::failed(found, remedy)
    };
    let s3 = store.store();
    let (aborted, completed) =
        match (store.path(&format!("{folder}/aborted")), store.path(&format!("{folder}/parts"))) {
            (Ok(aborted), Ok(completed)) => (aborted, completed),
            (Err(e), _) | (_, Err(e)) => return Finding::failed(e.to_string(), "correct the setting"),
        };
    let part = || PutPayload::from_static(b"a part");
    let id = match s3.create_multipart(&aborted).await {
        Ok(id) => id,
        Err(e) => return failed("s3:PutObject", explain(&e)),
    };
    let sent = s3.put_part(&aborted, &id, 0, part()).await;
    let listed = store.ask("GET", &[("encoding-type", "url"), ("prefix", prefix), ("uploads", "")]).await;
    if let Err(e) = s3.abort_multipart(&aborted, &id).await {
        let (found, remedy) = objects.refused("s3:AbortMultipartUpload", &explain(&e));
        return Finding::failed(format!("{found}; the upload {aborted} is left behind"), remedy);
    }
    if let Err(e) = sent {
        return failed("s3:PutObject", explain(&e));
    }
    let whole = async {
        let id = s3.create_multipart(&completed).await?;
        let part = match s3.put_part(&completed, &id, 0, part()).await {
            Ok(part) => part,
            Err(e) => return s3.abort_multipart(&completed, &id).await.and(Err(e)),
        };
        s3.complete_multipart(&completed, &id, vec![part]).await?;
        s3.head(&completed).await
    };
    let whole = whole.await;
    let gone = place::delete(objects, &[&format!("{folder}/parts")]).await;
    match whole {
        Err(e) => return failed("s3:PutObject", explain(&e)),
        Ok(meta) if meta.size != 6 => {
            return Finding::failed(
                format!("an upload of 6 bytes in one part became {} bytes", meta.size),
                "this store's multipart uploads do not work: use another version of it",
            );
        }
        Ok(_) => {}
    }
    if let Some(remedy) = gone.remedy {
        return Finding::failed(gone.found, remedy);
    }
    match listed {
        Ok(answered) if (200..300).contains(&answered.status) => {
            Finding::ok("uploads in parts can be begun, completed, aborted and listed")
        }
        Ok(Answered { status: 403, .. }) => Finding::warning(
            "works, but s3:ListBucketMultipartUploads is denied: only `tidemill gc` needs it",
            format!("allow s3:ListBucketMultipartUploads on {}", objects.bucket_arn),
        ),
        Ok(Answered { status, .. }) => Finding::warning(
            format!(
                "works, but uploads cannot be listed (the store answers {status}): `tidemill gc` finds none"
            ),
            "let the store itself remove unfinished uploads, no sooner than Kafka's retention",
        ),
        Err((_, why)) => Finding::warning(
            format!("works, but uploads cannot be listed: {why}"),
            "only `tidemill gc` needs it",
        ),
    }
}

/// How long Kafka keeps events, if the brokers say it soon.
async fn retention(around: &Surroundings<'_>) -> Retention {
    let mut told = around.retention.clone();
    let told = told.wait_for(Option::is_some).await.map(|told| *told);
    told.ok().flatten().unwrap_or(Retention::Unknown)
}

async fn rules(store: &Bucket, zone: &str, retention: Retention) -> Finding {
    let see = "a rule that aborts unfinished uploads must be no shorter than Kafka's retention, and none may expire \
               what lies under _tidemill/";
    match store.ask("GET", &[("lifecycle", "")]).await {
        Ok(Answered { status: 200, body, .. }) => lifecycle::judge(&body, zone, retention),
        Ok(Answered { status: 404, body, .. }) if body.contains("NoSuchLifecycleConfiguration") => {
            Finding::ok("there are no rules; what killed hosts leave, `tidemill gc` removes")
        }
        Ok(Answered { status: 403, .. }) => {
            Finding::ok(format!("not shown (s3:GetLifecycleConfiguration, which no host needs): {see}"))
        }
        Ok(Answered { status, .. }) => {
            Finding::ok(format!("the store does not tell its rules ({status}): {see}"))
        }
        Err((_, why)) => Finding::warning(format!("cannot ask for the bucket's rules: {why}"), see),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::report::State;
    use super::*;

    #[test]
    fn a_clock_is_as_far_off_as_is_sure() {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).expect("a time").to_utc();
        let date = at("2026-11-29T04:00:00Z");
        let ask =
            |begun: &str, ended: &str| skew(date, at(begun).timestamp_micros(), at(ended).timestamp_micros());
        assert_eq!(ask("2026-11-29T04:00:00.2Z", "2026-11-29T04:00:00.4Z"), 0);
        assert_eq!(ask("2026-11-29T04:00:00.9Z", "2026-11-29T04:00:03Z"), 0, "it took long");
        assert_eq!(ask("2026-11-29T04:00:05Z", "2026-11-29T04:00:06Z"), -4);
        assert_eq!(ask("2026-11-29T03:59:49Z", "2026-11-29T03:59:50Z"), 10);
        let state = |skew| clock(Some(skew)).state;
        assert_eq!(
            (state(1), state(-2), state(900), state(901)),
            (State::Ok, State::Warning, State::Warning, State::Failed)
        );
        assert!(clock(Some(5)).found.contains("5 s behind"));
        assert!(clock(Some(-1000)).found.contains("1000 s ahead of"));
    }
}
