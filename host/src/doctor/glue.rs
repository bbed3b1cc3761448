//! The rights in AWS Glue, one by one, without a trace and without touching a table of the user's.
//!
//! What is tried is tried on a table of a fresh name, `tidemill_doctor_<id>`. It is only made if it may be deleted,
//! which only the doctor needs. Whoever is answered that something does not exist was allowed to ask.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_glue::Client;
use aws_sdk_glue::config::retry::RetryConfig;
use aws_sdk_glue::config::timeout::TimeoutConfig;
use aws_sdk_glue::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_glue::types as aws;

use super::course::Course;
use super::net;
use super::report::Finding;
use crate::config::Config;
use crate::env::Env;
use crate::error::chain;
use crate::sink::Aws;

/// The steps after the first.
const STEPS: [&str; 9] = [
    "CreateDatabase",
    "GetTable",
    "DeleteTable",
    "CreateTable",
    "UpdateTable",
    "BatchCreatePartition",
    "BatchGetPartition",
    "UpdatePartition",
    "GetPartitions",
];
/// The partition that is tried.
const DATE: &str = "2000-01-01";
const HOUR: &str = "00";

/// How a call was answered.
enum Answer {
    Done,
    /// It or what it belongs to does not exist, or exists already: it was allowed.
    Allowed,
    Denied(String),
    /// Something else: what, in Glue's words.
    Else(String),
    /// Nothing came.
    Silent(String),
}

/// All steps.
pub(super) async fn run(mut course: Course, config: &Config, aws: Option<&Aws>, env: &Env) {
    let Some(aws) = aws else {
        course.skip(&["GetDatabase"], "credentials");
        course.skip(&STEPS, "credentials");
        return;
    };
    let glue = Probe::new(aws, config, env, course.limit());
    let Some(database) = course.step("GetDatabase", &[], glue.database()).await else {
        if !glue.answers() {
            course.skip(&STEPS, "GetDatabase");
            return;
        }
        // It answers, and denies this one right: the others are told, too.
        return glue.rights(&mut course, None).await;
    };
    glue.rights(&mut course, Some(database)).await;
}

/// The questions.
struct Probe<'a> {
    client: Client,
    database: &'a str,
    endpoint: String,
    region: String,
    table: String,
    limit: Duration,
    /// Glue has answered, be it with a refusal.
    denied: AtomicBool,
    /// The table was made, or may have been.
    made: AtomicBool,
}

impl<'a> Probe<'a> {
    fn new(aws: &Aws, config: &'a Config, env: &Env, limit: Duration) -> Probe<'a> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(limit.mul_f32(0.5))
            .operation_timeout(limit.mul_f32(0.6))
            .build();
        let client = aws_sdk_glue::config::Builder::from(&aws.sdk)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            .build();
        Probe {
            client: Client::from_conf(client),
            database: &config.database,
            endpoint: crate::catalog::glue_endpoint(&aws.sdk),
            region: aws.sdk.region().map_or("us-east-1", |region| region.as_ref()).to_owned(),
            table: format!("tidemill_doctor_{}", env.fresh_id()),
            limit,
            denied: AtomicBool::new(false),
            made: AtomicBool::new(false),
        }
    }

    /// Whether Glue has answered at all, be it with a refusal.
    fn answers(&self) -> bool {
        self.denied.load(Ordering::Relaxed)
    }

    /// Whether the database is there.
    async fn database(&self) -> Finding<bool> {
        let name = self.database;
        match heard(self.client.get_database().name(name).send().await) {
            Answer::Done => Finding::ok(format!("database {name} exists at {}", self.endpoint)).with(true),
            Answer::Allowed => Finding::ok(format!(
                "database {name} does not exist yet at {}: `tidemill run` makes it",
                self.endpoint
            ))
            .with(false),
            Answer::Denied(why) => {
                self.denied.store(true, Ordering::Relaxed);
                self.refused("GetDatabase", &why)
            }
            Answer::Else(why) => Finding::failed(
                format!("glue:GetDatabase fails at {}: {why}", self.endpoint),
                "see whether it is Glue that answers there (AWS_ENDPOINT_URL_GLUE, unset for Amazon's own); a busy \
                 service passes",
            ),
            Answer::Silent(why) => self.unreachable(why).await,
        }
    }

    async fn unreachable<T>(&self, why: String) -> Finding<T> {
        let address = url::Url::parse(&self.endpoint).ok();
        let address =
            address.and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)));
        let mut why = why;
        if let Some((host, port)) = address
            && let Err(plainly) = net::reach(&host, port, self.limit.mul_f32(0.3)).await
        {
            why = plainly;
        }
        Finding::failed(
            format!("cannot reach AWS Glue at {}: {why}", self.endpoint),
            "correct AWS_ENDPOINT_URL_GLUE (unset for Amazon's own) or AWS_REGION, or do without (--catalog none)",
        )
    }

    fn refused<T>(&self, action: &str, why: &str) -> Finding<T> {
        if why.contains("Lake Formation") {
            return Finding::failed(
                format!("glue:{action} is denied by Lake Formation: {why}"),
                format!(
                    "grant it there: aws lakeformation grant-permissions … on database {}",
                    self.database
                ),
            );
        }
        if ["UnrecognizedClientException", "InvalidSignatureException", "InvalidClientTokenId"]
            .iter()
            .any(|code| why.starts_with(code))
        {
            return Finding::failed(
                format!("Glue does not know these credentials: {why}"),
                "correct AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            );
        }
        let name = self.database;
        let all = format!("arn:aws:glue:{}:*", self.region);
        Finding::failed(
            format!("glue:{action} is denied: {why}"),
            format!(
                "allow glue:{action} on {all}:catalog, {all}:database/{name} and {all}:table/{name}/* in the policy of \
                 these credentials"
            ),
        )
    }

    /// All that follows from one answer.
    fn judged(&self, action: &str, answer: Answer) -> Finding {
        match answer {
            Answer::Done | Answer::Allowed => Finding::ok("allowed"),
            Answer::Denied(why) => self.refused(action, &why),
            Answer::Else(why) => Finding::failed(format!("glue:{action} fails: {why}"), SEE),
            Answer::Silent(why) => Finding::failed(format!("glue:{action}: no answer: {why}"), SEE),
        }
    }

    /// The other rights. `there` says whether the database is; none: it is not known.
    async fn rights(&self, course: &mut Course, there: Option<bool>) {
        let Probe { client, database, table, .. } = self;
        course.step("CreateDatabase", &[], self.create_database(there)).await;
        let get = client.get_table().database_name(*database).name(table);
        course.step("GetTable", &[], async { self.judged("GetTable", heard(get.send().await)) }).await;
        let may_delete = course.step("DeleteTable", &[], self.may_delete()).await.unwrap_or(false);
        course.step("CreateTable", &[], self.create_table(may_delete)).await;
        let update = async {
            let input = self.input().map_err(SdkError::construction_failure)?;
            client.update_table().database_name(*database).table_input(input).send().await
        };
        let create = async {
            let create = client.batch_create_partition().database_name(*database).table_name(table);
            create.partition_input_list(partition()).send().await
        };
        let get = async {
            let values = aws::PartitionValueList::builder().values(DATE).values(HOUR).build();
            let values = values.map_err(SdkError::construction_failure)?;
            let get = client.batch_get_partition().database_name(*database).table_name(table);
            get.partitions_to_get(values).send().await
        };
        let change = async {
            let change = client.update_partition().database_name(*database).table_name(table);
            let change = change.partition_value_list(DATE).partition_value_list(HOUR);
            change.partition_input(partition()).send().await
        };
        let list = client.get_partitions().database_name(*database).table_name(table);
        course.step("UpdateTable", &[], async { self.judged("UpdateTable", heard(update.await)) }).await;
        course
            .step("BatchCreatePartition", &[], async {
                self.judged("BatchCreatePartition", heard(create.await))
            })
            .await;
        course
            .step("BatchGetPartition", &[], async { self.judged("BatchGetPartition", heard(get.await)) })
            .await;
        course
            .step("UpdatePartition", &[], async { self.judged("UpdatePartition", heard(change.await)) })
            .await;
        course
            .step("GetPartitions", &[], async { self.judged("GetPartitions", heard(list.send().await)) })
            .await;
        if self.made.load(Ordering::Relaxed) {
            course.step("clean-up", &[], self.clean_up()).await;
        }
    }

    /// Creating what is there changes nothing and tells the right.
    async fn create_database(&self, there: Option<bool>) -> Finding {
        if there != Some(true) {
            return Finding::warning(
                "not tried, as it would leave the database behind: the first `tidemill run` makes it",
                format!("to make it now: aws glue create-database --database-input Name={}", self.database),
            );
        }
        let input = match aws::DatabaseInput::builder().name(self.database).build() {
            Ok(input) => input,
            Err(e) => return Finding::failed(e.to_string(), "correct the setting `database`"),
        };
        let answer = heard(self.client.create_database().database_input(input).send().await);
        match answer {
            // The host only makes a database that is not there.
            Answer::Denied(_) => Finding::warning(
                "denied, and not needed any more, as the database exists",
                "allow glue:CreateDatabase if it is ever to be made anew",
            ),
            other => self.judged("CreateDatabase", other),
        }
    }

    /// Deleting what is not there changes nothing and tells the right.
    async fn may_delete(&self) -> Finding<bool> {
        let delete = self.client.delete_table().database_name(self.database).name(&self.table);
        match heard(delete.send().await) {
            Answer::Denied(_) => Finding::warning(
                "denied: only doctor needs it, so it makes no table to try the others on",
                "allow glue:DeleteTable on tables tidemill_doctor_* if CreateTable is to be tried",
            )
            .with(false),
            answer => {
                let finding = self.judged("DeleteTable", answer);
                let well = finding.state.passed();
                finding.with(well)
            }
        }
    }

    async fn create_table(&self, may_delete: bool) -> Finding {
        if !may_delete {
            return Finding::warning(
                "not tried, as the table could not be deleted again",
                "see that glue:CreateTable is allowed",
            );
        }
        let input = match self.input() {
            Ok(input) => input,
            Err(e) => return Finding::failed(e.to_string(), SEE),
        };
        // Also if nobody waits for the answer any more.
        self.made.store(true, Ordering::Relaxed);
        let create = self.client.create_table().database_name(self.database).table_input(input);
        let answer = heard(create.send().await);
        self.made.store(matches!(answer, Answer::Done | Answer::Silent(_)), Ordering::Relaxed);
        self.judged("CreateTable", answer)
    }

    async fn clean_up(&self) -> Finding {
        let delete = self.client.delete_table().database_name(self.database).name(&self.table);
        match heard(delete.send().await) {
            Answer::Done | Answer::Allowed => Finding::ok("the table that was tried on is deleted"),
            Answer::Denied(why) | Answer::Else(why) | Answer::Silent(why) => Finding::failed(
                format!("the table {} is left behind: {why}", self.table),
                format!("aws glue delete-table --database-name {} --name {}", self.database, self.table),
            ),
        }
    }

    fn input(&self) -> Result<aws::TableInput, aws_sdk_glue::error::BuildError> {
        aws::TableInput::builder()
            .name(&self.table)
            .description("Made by `tidemill doctor`, which deletes it again")
            .table_type("EXTERNAL_TABLE")
            .partition_keys(column("date")?)
            .partition_keys(column("hour")?)
            .storage_descriptor(
                aws::StorageDescriptor::builder()
                    .columns(column("nothing")?)
                    .location(format!("s3://{}/", self.table.replace('_', "-")))
                    .build(),
            )
            .build()
    }
}

const SEE: &str =
    "see https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-exceptions.html; a busy service passes";

fn column(name: &str) -> Result<aws::Column, aws_sdk_glue::error::BuildError> {
    aws::Column::builder().name(name).r#type("string").build()
}

fn partition() -> aws::PartitionInput {
    aws::PartitionInput::builder().values(DATE).values(HOUR).build()
}

/// What an answer means.
fn heard<T, E, R>(answer: Result<T, SdkError<E, R>>) -> Answer
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let error = match answer {
        Ok(_) => return Answer::Done,
        Err(error) => error,
    };
    let SdkError::ServiceError(said) = &error else {
        return match error {
            SdkError::ConstructionFailure(_) => Answer::Else(chain(&error)),
            _ => Answer::Silent(chain(&error)),
        };
    };
    let code = said.err().code().unwrap_or("an unknown error");
    let why = format!("{code}: {}", said.err().message().unwrap_or_default());
    match code {
        "EntityNotFoundException" | "AlreadyExistsException" => Answer::Allowed,
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "InvalidClientTokenId"
        | "ExpiredTokenException" => Answer::Denied(why),
        _ => Answer::Else(why),
    }
}
