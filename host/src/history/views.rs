//! Views for DuckDB: each table with the right generation of every hour, without a catalog.
//!
//! A view names no single file. It reads a glob for each generation that has hours, and of it the hours whose current
//! generation that is. So new files in folders that were in use are there without a new view; only after a flip a new one is to be
//! read, and an old one is right until what the flip took away is swept.

use std::collections::BTreeMap;

use super::{ended, means};
use crate::catalog::TableSpec;
use crate::generations::{FIRST, Generations};
use crate::pipeline::offline::Lake;
use crate::sink::{Location, ZoneStore};
use crate::wait::tries;
use crate::{Error, Result};

/// How often the store is asked that does not answer.
const TRIES: u32 = 6;
/// What the first line of a view says before its record.
const MADE: &str = "-- Made by tidemill after record ";

/// A table as DuckDB is to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The table.
    pub table: String,
    /// Generations that have hours.
    pub parts: Vec<Part>,
    /// The statement that makes the view.
    pub sql: String,
}

/// A generation of a table, as a view reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The generation.
    pub generation: u32,
    /// Where its files lie.
    pub glob: String,
    /// Its hours, as runs of hours since 1970, first and last. Of the first generation: those that it has not.
    pub hours: Vec<(i64, i64)>,
}

/// The views of tables as the log has them, which was read. Tables without files have none.
///
/// What the last flip brought is published first: a view must not send readers where nothing is yet.
pub async fn views(lake: &mut Lake, specs: &[TableSpec]) -> Result<Vec<View>> {
    while !lake.log.roll_forward(Some(&[])).await.map_err(ended)?.is_empty() {}
    let mut views = Vec::new();
    for spec in specs {
        views.extend(view(lake, spec).await?);
    }
    Ok(views)
}

async fn view(lake: &Lake, spec: &TableSpec) -> Result<Option<View>> {
    let name = &spec.table.name;
    let now = lake.log.view().generations();
    let root = readable(lake.stores.of(spec.table.zone), name);
    let mut parts = Vec::new();
    // The newest date has files of the first generation, as a rule; a glob that finds nothing is an error to DuckDB.
    for date in lake.log.dates(name).into_iter().rev() {
        let live = lake.log.live(name, &date).await?;
        if live.values().any(|file| file.generation == FIRST) {
            let glob = format!("{root}/date=*/hour=*/*.parquet");
            parts.push(Part { generation: FIRST, glob, hours: others(now, name) });
            break;
        }
    }
    let store = lake.stores.of(spec.table.zone);
    for (generation, hours) in later(now, name) {
        // Its only files may be those of a commit that is being published.
        let folder = format!("{name}/_gen/{generation}");
        if tries(&lake.env, TRIES, || store.list(&folder, 1)).await?.is_empty() {
            continue;
        }
        let glob = format!("{root}/_gen/{generation}/date=*/hour=*/*.parquet");
        parts.push(Part { generation, glob, hours });
    }
    if parts.is_empty() {
        return Ok(None);
    }
    let last = lake.log.view().next().saturating_sub(1);
    let sql = format!(
        "{MADE}{last} of pipeline {}: tidemill sql-view\n{}",
        lake.keys.pipeline(),
        sql(name, &parts)
    );
    Ok(Some(View { table: name.clone(), parts, sql }))
}

/// Writes the views of tables beside the log, for whoever reads without a catalog.
pub async fn write_views(lake: &mut Lake, specs: &[TableSpec]) -> Result<()> {
    let views = views(lake, specs).await?;
    let store = &lake.stores.processed;
    for view in views {
        let key = lake.keys.view(&view.table);
        // Another host may have read more of the log.
        let there = tries(&lake.env, TRIES, || store.read(&key)).await?;
        let newer = there.is_some_and(|bytes| {
            bytes == view.sql.as_bytes() || after(&String::from_utf8_lossy(&bytes)) > after(&view.sql)
        });
        if !newer {
            tries(&lake.env, TRIES, || store.replace(&key, view.sql.as_bytes())).await?;
        }
    }
    Ok(())
}

/// The record that a view was made after.
fn after(sql: &str) -> Option<u64> {
    sql.strip_prefix(MADE)?.split(' ').next()?.parse().ok()
}

/// A table's folder as DuckDB opens it.
fn readable(store: &ZoneStore, table: &str) -> String {
    match store.location() {
        Location::Local(root) => root.join(table).display().to_string(),
        bucket @ Location::S3 { .. } => bucket.join(table),
    }
}

/// Hours that are not of the first generation, whether they have files or not.
fn others(now: &Generations, table: &str) -> Vec<(i64, i64)> {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for (first, last, _) in now.runs(table) {
        match runs.last_mut() {
            Some(run) if run.1 + 1 == first.0 => run.1 = last.0,
            _ => runs.push((first.0, last.0)),
        }
    }
    runs
}

/// Hours by their generation after the first, as far as they have files.
fn later(now: &Generations, table: &str) -> BTreeMap<u32, Vec<(i64, i64)>> {
    let mut found: BTreeMap<u32, Vec<(i64, i64)>> = BTreeMap::new();
    for (first, last, standing) in now.runs(table) {
        if standing.generation > FIRST && !standing.empty {
            found.entry(standing.generation).or_default().push((first.0, last.0));
        }
    }
    found
}

fn sql(table: &str, parts: &[Part]) -> String {
    let part = |Part { generation, glob, hours }: &Part| {
        let hour = "(date - DATE '1970-01-01') * 24 + hour";
        let of = |(first, last): &(i64, i64)| format!("{hour} BETWEEN {first} AND {last}");
        let of = hours.iter().map(of).collect::<Vec<_>>().join("\n     OR ");
        let only = match (of.is_empty(), *generation) {
            (true, _) => String::new(),
            (false, FIRST) => format!("\n  WHERE NOT ({of})"),
            (false, _) => format!("\n  WHERE {of}"),
        };
        format!(
            "  SELECT * FROM read_parquet('{}', union_by_name = true, hive_partitioning = true,\n    hive_types = \
             {{'date': DATE, 'hour': BIGINT}}){only}",
            glob.replace('\'', "''")
        )
    };
    let parts: Vec<String> = parts.iter().map(part).collect();
    let body = parts.join("\n  UNION ALL BY NAME\n");
    format!("CREATE OR REPLACE VIEW \"{table}\" AS\n{body};\n")
}

/// Which of these names are tables of a lake; one that is none is wrong usage.
pub(crate) fn named<'a>(specs: &'a [TableSpec], tables: &[String]) -> Result<Vec<&'a TableSpec>> {
    let known = |name: &String| specs.iter().any(|spec| spec.table.name == *name);
    if let Some(unknown) = tables.iter().find(|name| !known(name)) {
        let all: Vec<&str> = specs.iter().map(|spec| spec.table.name.as_str()).collect();
        return Err(Error::usage(format!("there is no table {unknown}; there are: {}", all.join(", "))));
    }
    Ok(specs.iter().filter(|spec| means(tables, &spec.table.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generations::Standing;
    use crate::table::Hour;

    #[test]
    fn every_hour_is_read_in_one_generation() {
        let mut now = Generations::default();
        let mut set = |hour, generation, empty| now.set("t", Hour(hour), Standing { generation, empty });
        set(1, 2, true);
        (2..=4).for_each(|hour| set(hour, 2, false));
        set(5, 3, false);
        set(9, 2, false);
        assert_eq!(others(&now, "t"), [(1, 5), (9, 9)]);
        let parts = later(&now, "t");
        assert_eq!(parts, [(2, vec![(2, 4), (9, 9)]), (3, vec![(5, 5)])].into());
        let part = |generation, glob: &str, hours| Part { generation, glob: glob.into(), hours };
        let text = sql(
            "t",
            &[
                part(1, "/it's/t/date=*/hour=*/*.parquet", others(&now, "t")),
                part(2, "/t/_gen/2/date=*/hour=*/*.parquet", parts[&2].clone()),
            ],
        );
        let hour = "(date - DATE '1970-01-01') * 24 + hour";
        assert!(
            text.starts_with("CREATE OR REPLACE VIEW \"t\" AS\n  SELECT * FROM read_parquet('/it''s/t/"),
            "{text}"
        );
        for piece in [
            format!(
                "WHERE NOT ({hour} BETWEEN 1 AND 5\n     OR {hour} BETWEEN 9 AND 9)\n  UNION ALL BY NAME\n"
            ),
            format!("WHERE {hour} BETWEEN 2 AND 4\n     OR {hour} BETWEEN 9 AND 9;\n"),
        ] {
            assert!(text.contains(&piece), "{text}");
        }
        assert_eq!(sql("t", &[part(1, "/t", vec![])]).matches("WHERE").count(), 0);
        assert_eq!(after(&format!("{MADE}4711 of pipeline p: …\n")), Some(4711));
        assert_eq!(after("something else"), None);
    }
}
