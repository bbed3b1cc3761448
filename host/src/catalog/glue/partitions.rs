//! Partitions: made a hundred at a time, each looked at by itself, and put right where they lie elsewhere.

use std::collections::HashMap;

use aws_sdk_glue::types as aws;

use super::Glue;
use super::define::{malformed, partition};
use super::failure::{Asked, MISSING, PRESENT, code};
use crate::catalog::schema::Column;
use crate::catalog::{TableSpec, columns};
use crate::error::{Error, Kind, Result};
use crate::generations::Place;
use crate::table::Hour;

/// The partitions that Glue takes in one call.
pub(super) const BATCH: usize = 100;
/// … that it takes away in one call.
pub(super) const DELETED: usize = 25;

/// The values of a partition.
type Values = Vec<String>;

/// Those that were not made, and why.
#[derive(Default)]
pub(super) struct Refused {
    values: Vec<Values>,
    why: Option<Error>,
}

impl Refused {
    /// A person is needed, if one is for any.
    fn add(&mut self, values: Values, why: Error) {
        self.values.push(values);
        if self.why.as_ref().is_none_or(|old| old.kind() == Kind::Retry && why.kind() != Kind::Retry) {
            self.why = Some(why);
        }
    }

    /// Whether that hour is none of them.
    pub(super) fn took(&self, hour: Hour) -> bool {
        let (date, of_day) = hour.values();
        self.values.iter().all(|values| *values != [date.as_str(), of_day.as_str()])
    }

    pub(super) fn result(self) -> Result<()> {
        self.why.map_or(Ok(()), Err)
    }
}

impl Glue {
    /// None: there is no such table (any more).
    pub(super) async fn create_partitions(
        &self,
        spec: &TableSpec,
        hours: &[Place],
    ) -> Result<Option<Refused>> {
        let name = &spec.table.name;
        let doing = format!("register partitions of table `{name}`");
        let asked = Asked { action: "BatchCreatePartition", doing: &doing, table: Some(name) };
        let columns = columns(&spec.table)?;
        let inputs: Vec<_> =
            hours.iter().map(|hour| partition(spec, &columns, *hour)).collect::<Result<_>>()?;
        let create = self.client.batch_create_partition().database_name(&self.database).table_name(name);
        let answer = match create.set_partition_input_list(Some(inputs)).send().await {
            Err(error) if code(&error) == MISSING => return Ok(None),
            answer => answer.map_err(|error| self.failed(asked, &error))?,
        };
        let (mut refused, mut present) = (Refused::default(), Vec::new());
        for error in answer.errors() {
            let detail = error.error_detail();
            let code = detail.and_then(aws::ErrorDetail::error_code).unwrap_or("an unknown error");
            let values = error.partition_values().to_vec();
            if code == PRESENT {
                present.push(values);
                continue;
            }
            let message = detail.and_then(aws::ErrorDetail::error_message).unwrap_or_default();
            let (kind, remedy) = self.meaning(asked, code, message);
            let why = format!(
                "cannot register partition {} of table `{}.{name}` in AWS Glue: {}{code}: {message}",
                values.join("/"),
                self.database,
                remedy.map(|remedy| format!("{remedy}: ")).unwrap_or_default(),
            );
            refused.add(values, Error::new(kind, why));
        }
        self.put_right(spec, &columns, hours, present, &mut refused).await?;
        Ok(Some(refused))
    }

    /// Moves partitions that lie elsewhere (rule M6): "exists already" is success only at the right place.
    async fn put_right(
        &self,
        spec: &TableSpec,
        columns: &[Column],
        hours: &[Place],
        present: Vec<Values>,
        refused: &mut Refused,
    ) -> Result<()> {
        if present.is_empty() {
            return Ok(());
        }
        let name = &spec.table.name;
        let value = |values: &Values| {
            let list = aws::PartitionValueList::builder().set_values(Some(values.clone())).build();
            list.map_err(|error| malformed(&error))
        };
        let wanted = present.iter().map(value).collect::<Result<Vec<_>>>()?;
        let get = self.client.batch_get_partition().database_name(&self.database).table_name(name);
        let found = get.set_partitions_to_get(Some(wanted)).send().await;
        let doing = format!("look at partitions of table `{name}`");
        let asked = Asked { action: "BatchGetPartition", doing: &doing, table: Some(name) };
        let found = found.map_err(|error| self.failed(asked, &error))?;
        let found: HashMap<&[String], &aws::Partition> =
            found.partitions().iter().map(|partition| (partition.values(), partition)).collect();
        for values in present {
            // Glue leaves out what it had no time for, and what is gone meanwhile.
            let Some(there) = found.get(values.as_slice()) else {
                let why = format!(
                    "partition {} of table `{}.{name}` was there and is not shown by AWS Glue",
                    values.join("/"),
                    self.database
                );
                refused.add(values, Error::retry(why));
                continue;
            };
            let matches = |place: &&Place| values == <[String; 2]>::from(place.hour.values());
            let Some(place) = hours.iter().find(matches) else { continue };
            let location = there.storage_descriptor().and_then(aws::StorageDescriptor::location);
            let location = location.map(|location| location.trim_end_matches('/'));
            let later = location.is_some_and(|location| spec.is_later(location, *place));
            if !later && location != Some(&spec.partition(*place)) {
                self.move_partition(spec, columns, *place, there).await?;
            }
        }
        Ok(())
    }

    /// Takes partitions away. One that is not there is success.
    pub(super) async fn delete_partitions(&self, name: &str, hours: &[Hour]) -> Result<()> {
        let value = |hour: &Hour| {
            let (date, of_day) = hour.values();
            let list = aws::PartitionValueList::builder().values(date).values(of_day).build();
            list.map_err(|error| malformed(&error))
        };
        let wanted = hours.iter().map(value).collect::<Result<Vec<_>>>()?;
        let doing = format!("take partitions of table `{name}` away");
        let asked = Asked { action: "BatchDeletePartition", doing: &doing, table: Some(name) };
        let delete = self.client.batch_delete_partition().database_name(&self.database).table_name(name);
        let answer = match delete.set_partitions_to_delete(Some(wanted)).send().await {
            Err(error) if code(&error) == MISSING => return Ok(()),
            answer => answer.map_err(|error| self.failed(asked, &error))?,
        };
        for error in answer.errors() {
            let detail = error.error_detail();
            let code = detail.and_then(aws::ErrorDetail::error_code).unwrap_or("an unknown error");
            if code == MISSING {
                continue;
            }
            let message = detail.and_then(aws::ErrorDetail::error_message).unwrap_or_default();
            let (kind, _) = self.meaning(asked, code, message);
            let values = error.partition_values().join("/");
            let table = format!("{}.{name}", self.database);
            let why =
                format!("cannot take partition {values} of table `{table}` from AWS Glue: {code}: {message}");
            return Err(Error::new(kind, why));
        }
        Ok(())
    }

    async fn move_partition(
        &self,
        spec: &TableSpec,
        columns: &[Column],
        place: Place,
        there: &aws::Partition,
    ) -> Result<()> {
        let name = &spec.table.name;
        let location = there.storage_descriptor().and_then(aws::StorageDescriptor::location);
        tracing::warn!(
            "partition {} of table `{}.{name}` lay at {} in AWS Glue and is put right: {}",
            place.hour,
            self.database,
            location.unwrap_or("no place"),
            spec.partition(place)
        );
        let hour = place.hour;
        let mut input = partition(spec, columns, place)?;
        // What others set in it stays.
        let mut all = there.parameters().cloned().unwrap_or_default();
        all.extend(input.parameters.take().unwrap_or_default());
        input.parameters = Some(all);
        let update = self.client.update_partition().database_name(&self.database).table_name(name);
        let update = update.set_partition_value_list(Some(there.values().to_vec())).partition_input(input);
        let doing = format!("move partition {hour} of table `{name}`");
        let asked = Asked { action: "UpdatePartition", doing: &doing, table: Some(name) };
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == MISSING => {
                Err(Error::retry(format!("others took away partition {hour} of `{}.{name}`", self.database)))
            }
            Err(error) => Err(self.failed(asked, &error)),
        }
    }
}
