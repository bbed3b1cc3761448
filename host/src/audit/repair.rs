//! What an audit may put right without a decision: it publishes, and it registers.

use std::collections::{BTreeMap, BTreeSet};

use super::books::Books;
use super::findings::Findings;
use super::patiently;
use super::records::{Records, Slot};
use crate::catalog::TableSpec;
use crate::commit::PartitionKey;
use crate::generations::Place;
use crate::history::tell_anew;
use crate::pipeline::offline::Lake;
use crate::table::Hour;
use crate::{Kind, Result};

/// Publishes what last records left unpublished, and registers all hours that have files. Returns what it did and
/// what it could not do, as lines for people.
///
/// Nothing is removed but what a record removes that was not carried out yet.
pub async fn repair(lakes: &mut [Lake], specs: &[TableSpec]) -> Result<Vec<String>> {
    let mut done = Vec::new();
    for lake in &mut *lakes {
        let mut of_log = Vec::new();
        match lake.log.open().await {
            Ok(()) => publish(lake, &mut of_log).await?,
            Err(e) if e.kind() == Kind::Stop => of_log.push(format!("nothing was published: {e}")),
            Err(e) => return Err(e),
        }
        done.extend(of_log.into_iter().map(|line| format!("{}{line}", lake.shard.prefix())));
    }
    register(lakes, specs, &mut done).await?;
    Ok(done)
}

/// A partition at a time: one whose file has vanished must not hold up the others.
async fn publish(lake: &mut Lake, done: &mut Vec<String>) -> Result<()> {
    let last: Vec<PartitionKey> = lake.log.view().positions().map(|(key, _)| key.clone()).collect();
    let mut failures = BTreeSet::new();
    let slices = last.iter().map(std::slice::from_ref).map(Some).chain([None]);
    for partitions in slices {
        match lake.log.roll_forward(partitions).await {
            Ok(_) => {}
            Err(e) if e.kind() == Kind::Stop => drop(failures.insert(e.to_string())),
            Err(e) => return Err(e),
        }
    }
    match failures.is_empty() {
        true => done.push("published what last records name".into()),
        false => done.extend(failures.into_iter().map(|why| format!("not published: {why}"))),
    }
    Ok(())
}

async fn register(lakes: &mut [Lake], specs: &[TableSpec], done: &mut Vec<String>) -> Result<()> {
    // All have the same catalog.
    let Some(lake) = lakes.first() else { return Ok(()) };
    // A catalog that cannot tell what it shows keeps nothing.
    let first = specs.first().map(|spec| spec.table.name.as_str()).unwrap_or_default();
    if matches!(lake.catalog.partitions(first).await, Ok(None)) {
        return Ok(());
    }
    let mut hours: BTreeMap<String, BTreeSet<Place>> = BTreeMap::new();
    for lake in &mut *lakes {
        let books = books(lake).await?;
        // An hour may be rewritten this moment. A log that cannot be published is shown as it stands.
        let now = lake.log.shown().await.ok();
        for ((_, table), _, place) in books.places() {
            let place = Place { hour: place.hour, generation: place.generation };
            let place = now.map_or(place, |now| now.place(table, place.hour));
            hours.entry(table.clone()).or_default().insert(place);
        }
    }
    let Some(lake) = lakes.first_mut() else { return Ok(()) };
    patiently(&lake.env, || lake.catalog.ensure(specs)).await?;
    for (table, hours) in hours {
        let Some(spec) = specs.iter().find(|spec| spec.table.name == table) else {
            done.push(format!(
                "not registered: table {table}, which no transform makes (setting `transforms`)"
            ));
            continue;
        };
        let hours: Vec<Place> = hours.into_iter().collect();
        patiently(&lake.env, || lake.catalog.register(spec, &hours)).await?;
        done.push(format!("registered table {table}: {} hours", hours.len()));
    }
    let now = lake.log.view().generations();
    for spec in specs {
        let table = &spec.table.name;
        let expired = now.runs(table).filter(|(_, _, standing)| standing.empty);
        let expired: Vec<Hour> = expired.flat_map(|(first, last, _)| (first.0..=last.0).map(Hour)).collect();
        if !expired.is_empty() {
            patiently(&lake.env, || lake.catalog.withdraw(spec, &expired)).await?;
            done.push(format!("withdrew table {table}: {} hours that have expired", expired.len()));
        }
    }
    tell_anew(lake).await
}

/// What is true now. What is wrong with it is for the audit to say.
async fn books(lake: &Lake) -> Result<Books> {
    let records = Records::new(&lake.stores, &lake.keys, &lake.env);
    let (mut books, mut next) = (Books::default(), 0);
    loop {
        for (seq, slot) in records.some(next, u64::MAX).await? {
            next = seq + 1;
            match slot {
                Slot::There(record) => drop(books.take(&lake.keys, &record, &mut Findings::default())),
                Slot::Damaged(_) => {}
                Slot::Free => match records.beyond(seq).await? {
                    Some(later) => next = later,
                    None => return Ok(books),
                },
            }
        }
    }
}
