//! The AWS Glue Data Catalog, as Athena, Spark and DuckDB read it.
//!
//! Settings are the SDK's standard ones (`AWS_ENDPOINT_URL_GLUE`, region, credentials). Each call with all
//! its attempts ends within 10 seconds, so that an outage is an error soon. How others may change the same
//! tables meanwhile, and what is done about it: `docs/glue.md`.

mod define;
mod failure;
mod partitions;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_glue::Client;
use aws_sdk_glue::config::IdentityCache;
use aws_sdk_glue::config::retry::RetryConfig;
use aws_sdk_glue::config::timeout::TimeoutConfig;
use aws_sdk_glue::types as aws;

use self::failure::{Asked, MISSING, PRESENT, RACED, code};
use self::partitions::BATCH;
use super::counted::Counting;
use super::schema::{Column, PARTITION_COLUMNS, columns, merge, same_location};
use super::{Catalog, Partition, Registered, Shown, TableSpec};
use crate::error::{Error, Kind, Result};
use crate::generations::Place;
use crate::observe::Requests;
use crate::sink::{Aws, Chain};
use crate::table::Hour;

/// How often a table that others change, too, is read anew.
const TRIES: usize = 5;

/// One database of the Glue Data Catalog.
pub struct Glue {
    client: Client,
    database: String,
    endpoint: String,
    region: String,
    /// Told when they have expired.
    credentials: Option<Arc<Chain>>,
    /// The tables that this process ensured: those it may make again.
    ensured: Mutex<HashSet<String>>,
    registered: Registered,
}

impl Glue {
    /// The database of that name, which is made when it is first needed.
    pub fn new(aws: &Aws, database: &str) -> Glue {
        Glue::with(&aws.sdk, aws.credentials.clone(), database, aws.requests.clone())
    }

    fn with(
        sdk: &SdkConfig,
        credentials: Option<Arc<Chain>>,
        database: &str,
        requests: Option<Requests>,
    ) -> Glue {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_millis(2_500))
            .operation_attempt_timeout(Duration::from_secs(5))
            .operation_timeout(Duration::from_secs(9))
            .build();
        let mut config = aws_sdk_glue::config::Builder::from(sdk)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(3));
        if let Some(requests) = requests {
            config = config.interceptor(Counting(requests));
        }
        if let Some(chain) = &credentials {
            // It keeps them itself, for S3 as well.
            let provider = SharedCredentialsProvider::new(Arc::clone(chain) as Arc<dyn ProvideCredentials>);
            config = config.credentials_provider(provider).identity_cache(IdentityCache::no_cache());
        }
        let config = config.build();
        Glue {
            client: Client::from_conf(config),
            database: database.into(),
            endpoint: endpoint(sdk),
            region: sdk.region().map_or("us-east-1", |region| region.as_ref()).to_owned(),
            credentials,
            ensured: Mutex::default(),
            registered: Registered::default(),
        }
    }

    async fn ensure_database(&self) -> Result<()> {
        let name = &self.database;
        let doing = format!("look for database `{name}`");
        match self.client.get_database().name(name).send().await {
            Ok(_) => return Ok(()),
            Err(error) if code(&error) == MISSING => {}
            Err(error) => {
                let asked = Asked { action: "GetDatabase", doing: &doing, table: None };
                return Err(self.failed(asked, &error));
            }
        }
        let input = aws::DatabaseInput::builder().name(name).description("Made by Tidemill").build();
        let input =
            input.map_err(|error| Error::usage(format!("`{name}` is no name for a database: {error}")))?;
        let doing = format!("make database `{name}`");
        match self.client.create_database().database_input(input).send().await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == PRESENT => Ok(()),
            Err(error) => {
                Err(self.failed(Asked { action: "CreateDatabase", doing: &doing, table: None }, &error))
            }
        }
    }

    /// Makes or widens a table, and looks again until it is as it should be: another host may write the
    /// same table between a look and a change, and a person may drop it, or the database.
    async fn ensure_table(&self, spec: &TableSpec) -> Result<()> {
        let name = &spec.table.name;
        let wanted = columns(&spec.table)?;
        for _ in 0..TRIES {
            let done = match self.find_table(name).await? {
                None => self.create_table(spec, &wanted).await,
                Some(table) => match self.change(spec, &wanted, &table)? {
                    None => return Ok(()),
                    Some(input) => self.update_table(name, input, table.version_id()).await,
                },
            };
            match done {
                Err(error) if error.kind() != Kind::Abandon => return Err(error),
                _ => {}
            }
        }
        Err(Error::retry(format!("others keep changing table `{}.{name}` in AWS Glue", self.database)))
    }

    async fn find_table(&self, name: &str) -> Result<Option<aws::Table>> {
        match self.client.get_table().database_name(&self.database).name(name).send().await {
            Ok(found) => Ok(found.table),
            Err(error) if code(&error) == MISSING => Ok(None),
            Err(error) => {
                let doing = format!("look for table `{name}`");
                Err(self.failed(Asked { action: "GetTable", doing: &doing, table: Some(name) }, &error))
            }
        }
    }

    /// `Abandon` means that somebody else was faster: look again.
    async fn create_table(&self, spec: &TableSpec, wanted: &[Column]) -> Result<()> {
        let name = &spec.table.name;
        let input = define::table(spec, wanted)?;
        match self.client.create_table().database_name(&self.database).table_input(input).send().await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == PRESENT => Err(Error::abandon("it exists by now")),
            Err(error) if code(&error) == MISSING => {
                self.ensure_database().await?;
                Err(Error::abandon("the database was gone"))
            }
            Err(error) => {
                let doing = format!("make table `{name}`");
                Err(self.failed(Asked { action: "CreateTable", doing: &doing, table: Some(name) }, &error))
            }
        }
    }

    /// What has to be written so that a table is as it should be; nothing if it is. What others set in it
    /// stays.
    fn change(
        &self,
        spec: &TableSpec,
        wanted: &[Column],
        table: &aws::Table,
    ) -> Result<Option<aws::TableInput>> {
        let name = &spec.table.name;
        let empty = aws::StorageDescriptor::builder().build();
        let storage = table.storage_descriptor().unwrap_or(&empty);
        let mend = format!("choose another database (setting `database`) or drop `{}.{name}`", self.database);
        same_location(name, storage.location().unwrap_or("nowhere"), &spec.location, &mend)?;
        let keys: Vec<&str> = table.partition_keys().iter().map(aws::Column::name).collect();
        if keys != PARTITION_COLUMNS {
            return Err(Error::stop(format!(
                "table `{name}` is partitioned by {keys:?} in AWS Glue instead of {PARTITION_COLUMNS:?}: {mend}"
            )));
        }
        let old: Vec<Column> = storage.columns().iter().map(known).collect();
        let merged = merge(name, &old, wanted)?;
        let mut all = table.parameters().cloned().unwrap_or_default();
        let ours = define::parameters(spec, &all);
        let same = ours.iter().all(|(key, value)| all.get(key) == Some(value));
        if merged.is_none() && same {
            return Ok(None);
        }
        all.extend(ours);
        let mut storage = storage.clone();
        if let Some(merged) = merged {
            // The old ones as they are, with their comments.
            let new = merged.iter().skip(old.len()).map(define::column).collect::<Result<Vec<_>>>()?;
            storage.columns.get_or_insert_default().extend(new);
        }
        let input = aws::TableInput::builder()
            .name(name)
            .set_description(table.description().map(str::to_owned).or_else(|| spec.description.clone()))
            .set_owner(table.owner().map(str::to_owned))
            .retention(table.retention())
            .table_type(table.table_type().unwrap_or("EXTERNAL_TABLE"))
            .set_parameters(Some(all))
            .set_partition_keys(Some(table.partition_keys().to_vec()))
            .storage_descriptor(storage)
            .build();
        input.map(Some).map_err(|error| define::malformed(&error))
    }

    /// `Abandon` means that somebody else was faster: look again.
    async fn update_table(&self, name: &str, input: aws::TableInput, version: Option<&str>) -> Result<()> {
        let update = self.client.update_table().database_name(&self.database).table_input(input);
        // Glue keeps no copy of each former definition, of which an account may have so many.
        let update = update.set_version_id(version.map(str::to_owned)).skip_archive(true);
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if [RACED, MISSING].contains(&code(&error)) => {
                Err(Error::abandon("others changed it, or took it away"))
            }
            Err(error) => {
                let doing = format!("change table `{name}`");
                Err(self.failed(Asked { action: "UpdateTable", doing: &doing, table: Some(name) }, &error))
            }
        }
    }

    fn no_table(&self, name: &str) -> Error {
        Error::stop(format!("table `{name}` is not in database `{}` of AWS Glue", self.database))
    }

    /// A table that was dropped while this host ran is made again, as the next start would.
    async fn make_again(&self, spec: &TableSpec) -> Result<()> {
        let name = &spec.table.name;
        if !self.ensured.lock().unwrap_or_else(PoisonError::into_inner).contains(name) {
            return Err(self.no_table(name));
        }
        tracing::warn!(
            "table `{}.{name}` is gone from AWS Glue and is made again; older partitions come back with `tidemill verify --repair`",
            self.database
        );
        self.registered.forget(name);
        self.ensure_database().await?;
        self.ensure_table(spec).await
    }
}

#[async_trait]
impl Catalog for Glue {
    async fn ensure(&self, tables: &[TableSpec]) -> Result<()> {
        if tables.is_empty() {
            return Ok(());
        }
        self.ensure_database().await?;
        for spec in tables {
            self.ensure_table(spec).await?;
            self.ensured.lock().unwrap_or_else(PoisonError::into_inner).insert(spec.table.name.clone());
        }
        Ok(())
    }

    async fn register(&self, table: &TableSpec, hours: &[Place]) -> Result<()> {
        let mut failure = Ok(());
        for some in self.registered.unknown(table, hours).chunks(BATCH) {
            let refused = match self.create_partitions(table, some).await? {
                Some(refused) => Some(refused),
                None => {
                    self.make_again(table).await?;
                    self.create_partitions(table, some).await?
                }
            };
            let Some(refused) = refused else {
                let name = &table.table.name;
                return Err(Error::retry(format!("others drop table `{}.{name}`", self.database)));
            };
            let taken: Vec<Place> = some.iter().copied().filter(|place| refused.took(place.hour)).collect();
            self.registered.add(table, &taken);
            // The others go on: one that is refused for good must not hold them up.
            failure = failure.and(refused.result());
        }
        failure
    }

    async fn withdraw(&self, table: &TableSpec, hours: &[Hour]) -> Result<()> {
        self.registered.forget_hours(&table.table.name, hours);
        for some in hours.chunks(partitions::DELETED) {
            self.delete_partitions(&table.table.name, some).await?;
        }
        Ok(())
    }

    fn forget(&self, table: &str) {
        self.registered.forget(table);
    }

    async fn partitions(&self, table: &str) -> Result<Option<Vec<Partition>>> {
        let doing = format!("list the partitions of table `{table}`");
        let asked = Asked { action: "GetPartitions", doing: &doing, table: Some(table) };
        let failed = |error| self.failed(asked, &error);
        // A table that is missing is an error here, too.
        if self.find_table(table).await?.is_none() {
            return Err(self.no_table(table));
        }
        // Their columns are the table's; without them a page is a tenth of the size.
        let all = self.client.get_partitions().database_name(&self.database).table_name(table);
        let mut pages = all.exclude_column_schema(true).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            for partition in page.map_err(failed)?.partitions() {
                let location = partition.storage_descriptor().and_then(aws::StorageDescriptor::location);
                let [date, hour] = partition.values() else { continue };
                found.push((date.clone(), hour.clone(), location.unwrap_or("nowhere").to_owned()));
            }
        }
        found.sort();
        Ok(Some(found))
    }

    async fn shown(&self, table: &str) -> Result<Option<Shown>> {
        let Some(found) = self.find_table(table).await? else { return Ok(None) };
        let columns = found.storage_descriptor().map_or(&[][..], aws::StorageDescriptor::columns);
        let projected = found.parameters().and_then(|all| all.get(define::PROJECTED));
        Ok(Some(Shown {
            columns: columns.iter().map(known).collect(),
            projected: projected.is_some_and(|enabled| enabled.eq_ignore_ascii_case("true")),
        }))
    }
}

fn known(column: &aws::Column) -> Column {
    Column { name: column.name().into(), kind: column.r#type().unwrap_or_default().into() }
}

/// Where Glue is asked, for people.
pub(crate) fn endpoint(sdk: &SdkConfig) -> String {
    let region = sdk.region().map_or("us-east-1", |region| region.as_ref());
    let endpoint = std::env::var("AWS_ENDPOINT_URL_GLUE").ok().filter(|url| !url.is_empty());
    let endpoint = endpoint.or_else(|| sdk.endpoint_url().map(str::to_owned));
    endpoint.unwrap_or_else(|| format!("https://glue.{region}.amazonaws.com"))
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod tests;
