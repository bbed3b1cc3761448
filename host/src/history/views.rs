//! Views for DuckDB: each table with the right generation of every hour, without a catalog.
//!
//! A view is one glob over all generations of a table, and of each hour it reads the files of the generation that was
//! the current one when it was made: a file's path says of which it is. It names no single file and no folder of an
//! hour, so what comes later is there without a new view: new hours, late events, also in hours that were rewritten or
//! have expired. Only after a flip a new one is to be read, and an old one is right until what the flip took away is
//! swept. DuckDB finds out from the paths alone which files a query needs, and opens no others.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;

use super::{columns, ended, means};
use crate::catalog::TableSpec;
use crate::generations::{FIRST, Generations};
use crate::pipeline::offline::Lake;
use crate::sink::{Location, ZoneStore};
use crate::table::Hour;
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
    /// Where its files lie, whatever their generation.
    pub glob: String,
    /// The generation of hours from each of these on, as `2025-12-02 09`; the first one before them.
    pub since: Vec<(String, u32)>,
    /// The statement that makes the view.
    pub sql: String,
}

/// The views of tables as the log has them, which was read.
///
/// What the last flip brought is published first: a view must not send readers where nothing is yet.
pub async fn views(lake: &mut Lake, specs: &[TableSpec]) -> Result<Vec<View>> {
    while !lake.log.roll_forward(Some(&[])).await.map_err(ended)?.is_empty() {}
    let mut views = Vec::new();
    for spec in specs {
        let name = &spec.table.name;
        no_rows(lake, spec).await?;
        let glob = format!("{}/**/date=*/hour=*/*.parquet", readable(lake.stores.of(spec.table.zone), name));
        let since = since(lake.log.view().generations(), name);
        let columns = columns::shown(lake.catalog.as_ref(), spec).await?;
        let (last, pipeline) = (lake.log.view().next().saturating_sub(1), lake.keys.pipeline());
        let made = format!("{MADE}{last} of pipeline {pipeline}: tidemill sql-view");
        let sql = format!("{made}\n{}", sql(name, &glob, &columns, &since));
        views.push(View { table: name.clone(), glob, since, sql });
    }
    Ok(views)
}

/// Writes the views of tables beside the log, for whoever reads without a catalog.
pub async fn write_views(lake: &mut Lake, specs: &[TableSpec]) -> Result<()> {
    let views = views(lake, specs).await?;
    let store = &lake.stores.processed;
    for view in views {
        let key = lake.keys.view(&view.table);
        // Another host may have read more of the log.
        let newer = move |there: Option<&[u8]>| {
            let there = there.map(String::from_utf8_lossy).unwrap_or_default();
            let keep = there == view.sql || after(&there) > after(&view.sql);
            (!keep).then(|| view.sql.clone().into_bytes())
        };
        tries(&lake.env, TRIES, || store.revise(&key, newer.clone())).await?;
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

/// Makes sure that a table has a file without rows: a glob that finds nothing is an error to DuckDB.
async fn no_rows(lake: &Lake, spec: &TableSpec) -> Result<()> {
    let (store, key) = (lake.stores.of(spec.table.zone), lake.keys.no_rows(&spec.table.name));
    // A person who only reads need not have the right to write it.
    if !tries(&lake.env, TRIES, || store.exists(&key)).await? {
        let bytes = parquet().map_err(|e| Error::stop(format!("cannot make a file without rows: {e}")))?;
        tries(&lake.env, TRIES, || store.create(&key, &bytes)).await?;
    }
    Ok(())
}

fn parquet() -> parquet::errors::Result<Vec<u8>> {
    let schema = Arc::new(Schema::new(vec![Field::new("none", DataType::Boolean, true)]));
    ArrowWriter::try_new(Vec::new(), schema, None)?.into_inner()
}

/// From which hours on which generation is the current one, in their order. Hours that are not on the calendar are
/// never rewritten.
fn since(now: &Generations, table: &str) -> Vec<(String, u32)> {
    let mut found: Vec<(i64, u32)> = Vec::new();
    for (first, last, standing) in now.runs(table).filter(|run| run.0.is_on_the_calendar()) {
        // Between runs there are hours of the first generation.
        if found.last().is_some_and(|(from, _)| *from == first.0) {
            found.pop();
        }
        found.extend([(first.0, standing.generation), (last.0.saturating_add(1), FIRST)]);
    }
    // Whether an hour is empty makes no difference here.
    let mut before = FIRST;
    found.retain(|(_, generation)| std::mem::replace(&mut before, *generation) != *generation);
    found.into_iter().map(|(from, generation)| (name(Hour(from)), generation)).collect()
}

/// An hour as text in whose order hours are.
fn name(hour: Hour) -> String {
    let (date, of_day) = hour.values();
    format!("{date} {of_day}")
}

fn sql(table: &str, glob: &str, columns: &[(String, String)], since: &[(String, u32)]) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let column = |(name, kind): &(String, String)| {
        let (name, kind) = (quoted(name), quoted(kind));
        format!("    {name}: {{name: {name}, type: {kind}, default_value: NULL}}")
    };
    let columns: Vec<String> = columns.iter().map(column).collect();
    // Of a path: …/<table>[/_gen/<generation>]/date=<date>/hour=<hour>/<file>.
    let part = |from_end: u32| format!("string_split(_file, '/')[-{from_end}]");
    let (generation, house, date, of_day) = (part(4), part(5), part(3), part(2));
    let (date, of_day) = (format!("{date}[6:]"), format!("{of_day}[6:]"));
    let current = if since.is_empty() {
        format!("'{FIRST}'")
    } else {
        let list = |texts: Vec<String>| format!("[{}]", texts.join(", "));
        let hours = list(since.iter().map(|(hour, _)| quoted(hour)).collect());
        let generations = list(since.iter().map(|(_, generation)| format!("'{generation}'")).collect());
        // It sorts behind the hour itself and before the next one, so its place is how many of these have begun.
        let hour = format!("{date} || ' ' || {of_day} || '~'");
        let place = format!("list_position(list_sort(list_append({hours}, {hour}), 'ASC'), {hour}) - 1");
        format!("coalesce({generations}[{place}], '{FIRST}')")
    };
    format!(
        "CREATE OR REPLACE VIEW \"{table}\" AS\n  SELECT * EXCLUDE (_file), try_cast({date} AS DATE) AS date, \
         try_cast({of_day} AS BIGINT) AS hour\n  FROM read_parquet({},\n    hive_partitioning = false, filename = \
         '_file', schema = MAP {{\n{}\n  }})\n  WHERE CASE WHEN {house} = '_gen' THEN {generation} ELSE '{FIRST}' END\n    = {current};\n",
        quoted(glob),
        columns.join(",\n")
    )
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

    #[test]
    fn every_hour_is_read_in_one_generation() {
        let mut now = Generations::default();
        let mut set = |hour, generation, empty| now.set("t", Hour(hour), Standing { generation, empty });
        set(1, 2, true);
        (2..=4).for_each(|hour| set(hour, 2, false));
        set(5, 3, false);
        set(24, 2, false);
        let bounds = since(&now, "t");
        let wanted = [("01", 2), ("05", 3), ("06", 1)]
            .map(|(hour, generation)| (format!("1970-01-01 {hour}"), generation));
        let wanted = wanted.into_iter().chain([("1970-01-02 00".into(), 2), ("1970-01-02 01".into(), 1)]);
        assert_eq!(bounds, wanted.collect::<Vec<_>>());
        // What DuckDB makes of it: the last bound that is not after an hour, plain text.
        for hour in 0..30 {
            let at = format!("{}~", name(Hour(hour)));
            let found =
                bounds.iter().rev().find(|(from, _)| *from < at).map_or(FIRST, |(_, generation)| *generation);
            assert_eq!(found, now.get("t", Hour(hour)).generation, "{hour}");
        }
        assert!(since(&now, "other").is_empty());
    }

    #[test]
    fn a_file_without_rows_is_one_that_can_be_read() {
        let bytes = bytes::Bytes::from(parquet().unwrap());
        let read = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        assert_eq!((read.schema().fields().len(), read.metadata().file_metadata().num_rows()), (1, 0));
    }

    #[test]
    fn a_view_is_one_statement_about_one_glob() {
        let columns = [("it's".to_owned(), "VARCHAR".to_owned()), ("n".to_owned(), "BIGINT".to_owned())];
        let text = sql("t", "/it's/t/**/*.parquet", &columns, &[]);
        assert!(text.starts_with("CREATE OR REPLACE VIEW \"t\" AS\n  SELECT * EXCLUDE (_file), "), "{text}");
        for piece in [
            "read_parquet('/it''s/t/**/*.parquet',\n",
            "    'it''s': {name: 'it''s', type: 'VARCHAR', default_value: NULL},\n    'n': {name: 'n', ",
            "ELSE '1' END\n    = '1';\n",
        ] {
            assert!(text.contains(piece), "{text}");
        }
        let text = sql("t", "g", &columns, &[("1970-01-01 05".into(), 3), ("1970-01-01 06".into(), 1)]);
        assert!(
            text.contains("coalesce(['3', '1'][list_position(list_sort(list_append(['1970-01-01 05', "),
            "{text}"
        );
        assert_eq!(after(&format!("{MADE}4711 of pipeline p: …\n")), Some(4711));
        assert_eq!(after("something else"), None);
    }
}
