//! The lifecycle rules of a bucket: none may abort an upload that a commit still needs, or expire the commit log.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLifecycleConfiguration.html>

use std::time::Duration;

use serde::Deserialize;

use super::super::brokers::Retention;
use super::super::report::Finding;
use crate::sink::Keys;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Configuration {
    rule: Vec<Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Rule {
    #[serde(rename = "ID")]
    id: String,
    status: String,
    prefix: Option<String>,
    filter: Filter,
    expiration: Option<Expiration>,
    abort_incomplete_multipart_upload: Option<Abort>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Filter {
    prefix: Option<String>,
    tag: Option<Ignored>,
    and: Option<And>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct And {
    prefix: Option<String>,
    tag: Vec<Ignored>,
}

#[derive(Debug, Default, Deserialize)]
struct Ignored {}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Expiration {
    days: Option<u64>,
    date: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Abort {
    days_after_initiation: u64,
}

impl Rule {
    fn prefix(&self) -> &str {
        let and = self.filter.and.as_ref().and_then(|and| and.prefix.as_deref());
        and.or(self.filter.prefix.as_deref()).or(self.prefix.as_deref()).unwrap_or_default()
    }

    /// Objects of the host have no tags.
    fn by_tag(&self) -> bool {
        self.filter.tag.is_some() || self.filter.and.as_ref().is_some_and(|and| !and.tag.is_empty())
    }

    /// Whether it is about some of what has this prefix.
    fn meets(&self, prefix: &str) -> bool {
        let own = self.prefix();
        self.status == "Enabled" && !self.by_tag() && (own.starts_with(prefix) || prefix.starts_with(own))
    }
}

/// What the rules mean for a zone under that prefix of its bucket (empty, or with a slash at its end).
pub(super) fn judge(body: &str, prefix: &str, retention: Retention) -> Finding {
    let rules = match quick_xml::de::from_str::<Configuration>(body) {
        Ok(Configuration { rule }) => rule,
        Err(e) => {
            return Finding::warning(
                format!("the bucket's lifecycle rules cannot be read: {e}"),
                "see for yourself: none may expire what lies under _tidemill/",
            );
        }
    };
    let house = format!("{prefix}{}/", Keys::house());
    let eats = |rule: &&Rule| {
        let expires = rule.expiration.as_ref().is_some_and(|e| e.days.is_some() || e.date.is_some());
        expires && rule.meets(&house)
    };
    if let Some(rule) = rules.iter().find(eats) {
        return Finding::failed(
            format!(
                "the lifecycle rule \"{}\" expires what lies under {house}: the commit log would be lost",
                rule.id
            ),
            "let the rule's prefix name the tables that it is meant for, one rule each",
        );
    }
    let aborts = rules.iter().filter(|rule| rule.meets(prefix));
    let aborts = aborts.filter_map(|rule| Some((rule, rule.abort_incomplete_multipart_upload.as_ref()?)));
    let Some((rule, Abort { days_after_initiation: days })) =
        aborts.min_by_key(|(_, abort)| abort.days_after_initiation)
    else {
        return Finding::ok("no rule is in the way; what killed hosts leave, `tidemill gc` removes");
    };
    let age = Duration::from_secs(days.saturating_mul(86_400));
    let plural = if *days == 1 { "" } else { "s" };
    let found = format!("the rule \"{}\" aborts uploads after {days} day{plural}", rule.id);
    match retention {
        Retention::For(kept) if age < kept => Finding::warning(
            format!("{found}, and Kafka keeps events for {}", crate::cli::age(kept)),
            "let it abort no sooner than Kafka's retention: an upload may belong to a commit that is about to be \
             published",
        ),
        Retention::Unknown => {
            Finding::ok(format!("{found}; it must be no less than Kafka's retention, which is not known"))
        }
        // What vanished can always be made again from the topic.
        Retention::For(_) | Retention::Unlimited => Finding::ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::report::State;
    use super::*;

    const WEEK: Retention = Retention::For(Duration::from_secs(7 * 86_400));

    fn rules(rules: &str, prefix: &str, retention: Retention) -> (State, String) {
        let body = format!(
            r#"<?xml version="1.0"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{rules}</LifecycleConfiguration>"#
        );
        let finding = judge(&body, prefix, retention);
        (finding.state, finding.found)
    }

    fn abort(days: u64, filter: &str) -> String {
        format!(
            "<Rule><ID>tidy</ID><Status>Enabled</Status>{filter}<AbortIncompleteMultipartUpload>\
             <DaysAfterInitiation>{days}</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>"
        )
    }

    #[test]
    fn uploads_must_not_be_aborted_before_kafka_forgets() {
        let all = "<Filter/>";
        assert_eq!(rules("", "", WEEK).0, State::Ok);
        let (state, found) = rules(&abort(6, all), "", WEEK);
        assert!(state == State::Warning && found.contains("6 days") && found.contains("7d"), "{found}");
        assert_eq!(rules(&abort(7, all), "", WEEK).0, State::Ok);
        assert_eq!(rules(&abort(1, all), "", Retention::Unlimited).0, State::Ok);
        let (state, found) = rules(&abort(1, all), "", Retention::Unknown);
        assert!(state == State::Ok && found.contains("not known"), "{found}");
        let both = abort(9, all) + &abort(2, "<Filter><Prefix>lake/raw/t</Prefix></Filter>");
        assert_eq!(rules(&both, "lake/raw/", WEEK).0, State::Warning, "the shortest counts");
        assert_eq!(rules(&abort(2, "<Filter><Prefix>other/</Prefix></Filter>"), "lake/", WEEK).0, State::Ok);
        let tagged = "<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>";
        assert_eq!(rules(&abort(2, tagged), "", WEEK).0, State::Ok);
        let off = abort(2, all).replace("Enabled", "Disabled");
        assert_eq!(rules(&off, "", WEEK).0, State::Ok);
    }

    #[test]
    fn the_commit_log_must_not_expire() {
        let expire = |prefix: &str| {
            format!(
                "<Rule><ID>old</ID><Filter><Prefix>{prefix}</Prefix></Filter><Status>Enabled</Status>\
                 <Expiration><Days>90</Days></Expiration></Rule>"
            )
        };
        for (rule, zone, state) in [
            ("", "", State::Failed),
            ("_tidemill/", "", State::Failed),
            ("lake/", "lake/raw/", State::Failed),
            ("lake/raw/_tidemill/t/log", "lake/raw/", State::Failed),
            ("user_events/", "", State::Ok),
            ("lake/raw/user_events/", "lake/raw/", State::Ok),
        ] {
            assert_eq!(rules(&expire(rule), zone, WEEK).0, state, "{rule} {zone}");
        }
        assert_eq!(judge("no xml", "", WEEK).state, State::Warning);
    }
}
