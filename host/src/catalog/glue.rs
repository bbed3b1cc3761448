//! The AWS Glue Data Catalog, as Athena, Spark and DuckDB read it.
//!
//! Settings are the SDK's standard ones (`AWS_ENDPOINT_URL_GLUE`, region, credentials). Each call with all
//! its attempts ends within 10 seconds, so that an outage is an error soon.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_glue::Client;
use aws_sdk_glue::config::retry::RetryConfig;
use aws_sdk_glue::config::timeout::TimeoutConfig;
use aws_sdk_glue::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_glue::types as aws;

use super::counted::Counting;
use super::schema::{Column, PARTITION_COLUMNS, columns, merge, same_location};
use super::{Catalog, Partition, Registered, TableSpec};
use crate::error::{Error, Result, chain};
use crate::observe::Requests;
use crate::table::Hour;

/// The partitions that Glue takes in one call.
const BATCH: usize = 100;
/// How often a table that others change, too, is read anew.
const TRIES: usize = 5;

/// One database of the Glue Data Catalog.
pub struct Glue {
    client: Client,
    database: String,
    endpoint: String,
    registered: Registered,
}

impl Glue {
    /// The database of that name, which is made when it is first needed. Requests are counted there.
    pub fn new(sdk: &SdkConfig, database: &str, requests: Option<Requests>) -> Glue {
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
        let config = config.build();
        Glue {
            client: Client::from_conf(config),
            database: database.into(),
            endpoint: endpoint(sdk),
            registered: Registered::default(),
        }
    }

    async fn ensure_database(&self) -> Result<()> {
        let name = &self.database;
        match self.client.get_database().name(name).send().await {
            Ok(_) => return Ok(()),
            Err(error) if code(&error) == "EntityNotFoundException" => {}
            Err(error) => return Err(self.failed(&format!("look for database `{name}`"), &error)),
        }
        let input = aws::DatabaseInput::builder().name(name).description("Made by Tidemill").build();
        let input =
            input.map_err(|error| Error::usage(format!("`{name}` is no name for a database: {error}")))?;
        match self.client.create_database().database_input(input).send().await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == "AlreadyExistsException" => Ok(()),
            Err(error) => Err(self.failed(&format!("make database `{name}`"), &error)),
        }
    }

    /// Makes or widens a table, and looks again until it is as it should be: another host may write the
    /// same table between a look and a change.
    async fn ensure_table(&self, spec: &TableSpec) -> Result<()> {
        let name = &spec.table.name;
        let wanted = columns(&spec.table)?;
        for _ in 0..TRIES {
            let found = match self.client.get_table().database_name(&self.database).name(name).send().await {
                Ok(found) => found.table,
                Err(error) if code(&error) == "EntityNotFoundException" => None,
                Err(error) => return Err(self.failed(&format!("look for table `{name}`"), &error)),
            };
            let done = match found {
                None => self.create_table(spec, &wanted).await,
                Some(table) => match self.change(spec, &wanted, &table)? {
                    None => return Ok(()),
                    Some(input) => self.update_table(name, input, table.version_id()).await,
                },
            };
            match done {
                Err(error) if error.kind() != crate::Kind::Abandon => return Err(error),
                _ => {}
            }
        }
        Err(Error::retry(format!("others keep changing table `{}.{name}` in AWS Glue", self.database)))
    }

    /// `Abandon` means that somebody else was faster: look again.
    async fn create_table(&self, spec: &TableSpec, wanted: &[Column]) -> Result<()> {
        let name = &spec.table.name;
        let input = aws::TableInput::builder()
            .name(name)
            .set_description(spec.description.clone())
            .table_type("EXTERNAL_TABLE")
            .set_parameters(Some(parameters(spec)))
            .set_partition_keys(Some(partition_keys()?))
            .storage_descriptor(storage(wanted, &spec.location)?)
            .build()
            .map_err(|error| malformed(&error))?;
        match self.client.create_table().database_name(&self.database).table_input(input).send().await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == "AlreadyExistsException" => Err(Error::abandon("it exists by now")),
            Err(error) => Err(self.failed(&format!("make table `{name}`"), &error)),
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
        let column = |column: &aws::Column| Column {
            name: column.name().into(),
            kind: column.r#type().unwrap_or_default().into(),
        };
        let old: Vec<Column> = storage.columns().iter().map(column).collect();
        let merged = merge(name, &old, wanted)?;
        let mut all = table.parameters().cloned().unwrap_or_default();
        let ours = parameters(spec);
        let same = ours.iter().all(|(key, value)| all.get(key) == Some(value));
        if merged.is_none() && same {
            return Ok(None);
        }
        all.extend(ours);
        let mut storage = storage.clone();
        if let Some(merged) = merged {
            // The old ones as they are, with their comments.
            let new = merged.iter().skip(old.len()).map(aws_column).collect::<Result<Vec<_>>>()?;
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
        input.map(Some).map_err(|error| malformed(&error))
    }

    /// `Abandon` means that somebody else was faster: look again.
    async fn update_table(&self, name: &str, input: aws::TableInput, version: Option<&str>) -> Result<()> {
        let update = self.client.update_table().database_name(&self.database).table_input(input);
        match update.set_version_id(version.map(str::to_owned)).send().await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == "ConcurrentModificationException" => {
                Err(Error::abandon("others changed it"))
            }
            Err(error) => Err(self.failed(&format!("change table `{name}`"), &error)),
        }
    }

    async fn create_partitions(&self, spec: &TableSpec, hours: &[Hour]) -> Result<()> {
        let name = &spec.table.name;
        let columns = columns(&spec.table)?;
        let inputs: Vec<_> =
            hours.iter().map(|hour| partition(spec, &columns, *hour)).collect::<Result<_>>()?;
        let create = self.client.batch_create_partition().database_name(&self.database).table_name(name);
        let answer = create.set_partition_input_list(Some(inputs)).send().await;
        let answer =
            answer.map_err(|error| self.failed(&format!("register partitions of table `{name}`"), &error))?;
        let mut present = Vec::new();
        for error in answer.errors() {
            let detail = error.error_detail();
            let code = detail.and_then(aws::ErrorDetail::error_code).unwrap_or("an unknown error");
            if code != "AlreadyExistsException" {
                let why = detail.and_then(aws::ErrorDetail::error_message).unwrap_or_default();
                let values = error.partition_values().join("/");
                return Err(Error::retry(format!(
                    "cannot register partition {values} of table `{}.{name}` in AWS Glue: {code}: {why}",
                    self.database
                )));
            }
            present.push(error.partition_values().to_vec());
        }
        self.put_right(spec, &columns, hours, &present).await
    }

    /// Moves partitions that lie elsewhere (rule M6): "exists already" is success only at the right place.
    async fn put_right(
        &self,
        spec: &TableSpec,
        columns: &[Column],
        hours: &[Hour],
        present: &[Vec<String>],
    ) -> Result<()> {
        if present.is_empty() {
            return Ok(());
        }
        let name = &spec.table.name;
        let value = |values: &Vec<String>| {
            let list = aws::PartitionValueList::builder().set_values(Some(values.clone())).build();
            list.map_err(|error| malformed(&error))
        };
        let wanted = present.iter().map(value).collect::<Result<Vec<_>>>()?;
        let get = self.client.batch_get_partition().database_name(&self.database).table_name(name);
        let found = get.set_partitions_to_get(Some(wanted)).send().await;
        let found =
            found.map_err(|error| self.failed(&format!("look at partitions of table `{name}`"), &error))?;
        for partition_found in found.partitions() {
            let location = partition_found.storage_descriptor().and_then(aws::StorageDescriptor::location);
            let matches = |hour: &&Hour| {
                let (date, of_day) = hour.values();
                partition_found.values() == [date, of_day]
            };
            let Some(hour) = hours.iter().find(matches) else { continue };
            if location.map(|location| location.trim_end_matches('/')) == Some(&spec.partition(*hour)) {
                continue;
            }
            tracing::warn!(
                "partition {hour} of table `{}.{name}` lay at {} in AWS Glue and is put right",
                self.database,
                location.unwrap_or("no place")
            );
            let update = self.client.update_partition().database_name(&self.database).table_name(name);
            let update = update.set_partition_value_list(Some(partition_found.values().to_vec()));
            let done = update.partition_input(partition(spec, columns, *hour)?).send().await;
            done.map_err(|error| self.failed(&format!("move partition {hour} of table `{name}`"), &error))?;
        }
        Ok(())
    }

    /// What a failed call means. No answer and a busy service pass; the rest needs a person.
    fn failed<E, R>(&self, doing: &str, error: &SdkError<E, R>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug + 'static,
    {
        let Glue { database, endpoint, .. } = self;
        let context =
            format!("cannot {doing} in AWS Glue at {endpoint} (settings `catalog`, `database` = {database})");
        let SdkError::ServiceError(answer) = error else {
            return Error::retry(format!("{context}: {}", chain(error)));
        };
        let code = answer.err().code().unwrap_or("an unknown error");
        let text = format!("{context}: {code}: {}", answer.err().message().unwrap_or_default());
        match code {
            "AccessDeniedException"
            | "InvalidInputException"
            | "EntityNotFoundException"
            | "ResourceNumberLimitExceededException"
            | "GlueEncryptionException"
            | "UnrecognizedClientException"
            | "InvalidSignatureException" => Error::stop(text),
            _ => Error::retry(text),
        }
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
        }
        Ok(())
    }

    async fn register(&self, table: &TableSpec, hours: &[Hour]) -> Result<()> {
        for some in self.registered.unknown(table, hours).chunks(BATCH) {
            self.create_partitions(table, some).await?;
            self.registered.add(table, some);
        }
        Ok(())
    }

    async fn partitions(&self, table: &str) -> Result<Option<Vec<Partition>>> {
        let failed = |error| self.failed(&format!("list the partitions of table `{table}`"), &error);
        // A table that is missing is an error here, too.
        let get = self.client.get_table().database_name(&self.database).name(table).send().await;
        get.map_err(|error| self.failed(&format!("look for table `{table}`"), &error))?;
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
}

/// Where Glue is asked, for people.
pub(crate) fn endpoint(sdk: &SdkConfig) -> String {
    let region = sdk.region().map_or("us-east-1", |region| region.as_ref());
    let endpoint = std::env::var("AWS_ENDPOINT_URL_GLUE").ok().filter(|url| !url.is_empty());
    let endpoint = endpoint.or_else(|| sdk.endpoint_url().map(str::to_owned));
    endpoint.unwrap_or_else(|| format!("https://glue.{region}.amazonaws.com"))
}

/// What Glue called the error.
fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> &str {
    error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default()
}

fn malformed(error: &dyn std::fmt::Display) -> Error {
    Error::stop(format!("cannot describe a table to AWS Glue: {error}"))
}

fn aws_column(column: &Column) -> Result<aws::Column> {
    let built = aws::Column::builder().name(&column.name).r#type(&column.kind).build();
    built.map_err(|error| malformed(&error))
}

fn partition_keys() -> Result<Vec<aws::Column>> {
    let string = |name: &str| aws_column(&Column { name: name.into(), kind: "string".into() });
    PARTITION_COLUMNS.iter().map(|name| string(name)).collect()
}

fn parameters(spec: &TableSpec) -> HashMap<String, String> {
    let fixed = [("classification", "parquet"), ("EXTERNAL", "TRUE"), ("typeOfData", "file")];
    let fixed = fixed.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    let merge = spec.merge.iter().map(|(column, how)| (format!("tidemill.merge.{column}"), how.clone()));
    fixed.chain(merge).collect()
}

fn storage(columns: &[Column], location: &str) -> Result<aws::StorageDescriptor> {
    let serde = aws::SerDeInfo::builder()
        .serialization_library("org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe")
        .parameters("serialization.format", "1")
        .build();
    Ok(aws::StorageDescriptor::builder()
        .set_columns(Some(columns.iter().map(aws_column).collect::<Result<_>>()?))
        .location(location)
        .input_format("org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat")
        .output_format("org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat")
        .serde_info(serde)
        .build())
}

fn partition(spec: &TableSpec, columns: &[Column], hour: Hour) -> Result<aws::PartitionInput> {
    let (date, of_day) = hour.values();
    Ok(aws::PartitionInput::builder()
        .values(date)
        .values(of_day)
        .parameters("classification", "parquet")
        .storage_descriptor(storage(columns, &spec.partition(hour))?)
        .build())
}

#[cfg(test)]
#[path = "glue_tests.rs"]
mod tests;
