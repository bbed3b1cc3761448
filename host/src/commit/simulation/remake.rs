//! Files that vanished before they were visible (rule F6), in the simulation.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::super::log::Log;
use super::super::publish::{Remade, Remake};
use super::super::record::{DataFile, Record};
use super::super::store::again;
use super::checks::Category;
use super::host::{HOURS, TABLES, stage};
use super::process::Process;
use super::world::Row;
use crate::Result;
use crate::env::Env;

/// Makes files again from Kafka: all files of an epoch, a table and an hour together, as it would in truth.
pub(super) struct Again(pub(super) Process);

#[async_trait]
impl Remake for Again {
    async fn remake(&self, log: &Log, record: &Record, missing: &[DataFile]) -> Result<Remade> {
        let place = |file: &DataFile| (file.epoch.clone(), file.file.table.clone(), file.file.hour);
        let (epoch, replaced) = {
            let mut state = self.0.world.state();
            state.fire("file made again");
            for file in missing {
                let key = &file.file.key;
                if state.pipelines[self.0.pipeline].truth.superseded.contains_key(key) {
                    state.violate(Category::Needless, format!("{key} was replaced already"));
                }
            }
            let replaced: Vec<DataFile> = record
                .files
                .iter()
                .filter(|file| missing.iter().any(|one| place(one) == place(file)))
                .cloned()
                .collect();
            (state.fresh_id(), replaced)
        };
        let mut places: BTreeMap<_, Vec<Row>> = BTreeMap::new();
        for file in &replaced {
            let rows = self.0.world.state().rows[&file.file.key].clone();
            places.entry(place(file)).or_default().extend(rows);
        }
        let env: Env = Arc::new(self.0.clone());
        let mut files = Vec::new();
        for ((_, table, hour), rows) in places {
            let now = log.view().generations().get(&table, hour).generation;
            let table = TABLES.iter().position(|name| *name == table).expect("one of them");
            let hour = HOURS.iter().position(|one| *one == hour).expect("one of them");
            let name = {
                let keys = self.0.world.state().pipelines[self.0.pipeline].keys.clone();
                keys.file_name(&epoch, 0, u32::try_from(files.len()).expect("few"))
            };
            let made =
                again(&env, "stage", || stage(&self.0, &epoch, (table, now), hour, &name, &rows)).await?;
            files.push(made);
        }
        Ok(Remade { replaced, files })
    }
}
