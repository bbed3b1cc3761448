//! What a failed call to Glue means, for the host and for people.
//!
//! No answer, a busy service, keys that are renewed and a clock that is set pass by: `Retry`. The rest needs a person,
//! who is told the action, the resource and what to do.

use aws_sdk_glue::error::{ProvideErrorMetadata, SdkError};

use super::Glue;
use crate::error::{Error, Kind, chain};
use crate::sink::CLOCK;

/// What was asked of Glue.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// As IAM calls it, without `glue:`.
    pub(super) action: &'static str,
    /// For people: "change table `t`".
    pub(super) doing: &'a str,
    /// None: it is about the database.
    pub(super) table: Option<&'a str>,
}

/// What Glue called the error.
pub(super) fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> &str {
    error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default()
}

/// It is not there.
pub(super) const MISSING: &str = "EntityNotFoundException";
/// It is there already.
pub(super) const PRESENT: &str = "AlreadyExistsException";
/// Others changed it at the same time.
pub(super) const RACED: &str = "ConcurrentModificationException";

impl Glue {
    pub(super) fn failed<E, R>(&self, asked: Asked<'_>, error: &SdkError<E, R>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug + 'static,
    {
        let Glue { database, endpoint, .. } = self;
        let doing = asked.doing;
        let context =
            format!("cannot {doing} in AWS Glue at {endpoint} (settings `catalog`, `database` = {database})");
        let SdkError::ServiceError(answer) = error else {
            return Error::retry(format!("{context}: {}", chain(error)));
        };
        let code = answer.err().code().unwrap_or("an unknown error");
        let message = answer.err().message().unwrap_or_default();
        if code.starts_with("ExpiredToken")
            && let Some(credentials) = &self.credentials
        {
            credentials.refused();
        }
        let (kind, remedy) = self.meaning(asked, code, message);
        let remedy = remedy.map(|remedy| format!("{remedy}: ")).unwrap_or_default();
        Error::new(kind, format!("{context}: {remedy}{code}: {message}"))
    }

    /// What to do about an error of that name, and what to tell people.
    pub(super) fn meaning(&self, asked: Asked<'_>, code: &str, message: &str) -> (Kind, Option<String>) {
        let Asked { action, table, .. } = asked;
        match code {
            // Skew is told as a signature that is wrong.
            "RequestTimeTooSkewed" | "RequestExpired" => (Kind::Retry, Some(CLOCK.into())),
            "InvalidSignatureException" | "SignatureDoesNotMatch"
                if message.contains("expired") || message.contains("not yet") =>
            {
                (Kind::Retry, Some(CLOCK.into()))
            }
            "AccessDeniedException" => {
                let of = self.resource(table);
                let remedy = format!(
                    "access denied: allow glue:{action} on {of} (and on the catalog{}); where Lake Formation rules, grant it there",
                    if table.is_some() { " and the database" } else { "" },
                );
                (Kind::Stop, Some(remedy))
            }
            "GlueEncryptionException" => {
                let remedy = format!(
                    "the catalog is encrypted: allow the use of its key in AWS KMS for glue:{action}"
                );
                (Kind::Stop, Some(remedy))
            }
            "ResourceNumberLimitExceededException" => {
                let remedy =
                    format!("a quota of this account is reached for {}: raise it", self.resource(table));
                (Kind::Stop, Some(remedy))
            }
            "UnrecognizedClientException" | "InvalidSignatureException" | "SignatureDoesNotMatch" => {
                (Kind::Stop, Some("these credentials are not known there: correct them".into()))
            }
            "InvalidInputException" | "ValidationException" | MISSING => (Kind::Stop, None),
            // Throttling in all its names, InternalServiceException, OperationTimeoutException,
            // ConcurrentModificationException, ResourceNotReadyException, and what is not known yet.
            _ => (Kind::Retry, None),
        }
    }

    /// As it stands in a policy.
    fn resource(&self, table: Option<&str>) -> String {
        let Glue { database, region, .. } = self;
        match table {
            Some(table) => format!("arn:aws:glue:{region}:*:table/{database}/{table}"),
            None => format!("arn:aws:glue:{region}:*:database/{database}"),
        }
    }
}
