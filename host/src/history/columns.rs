//! The columns of a table in DuckDB's words: those that its transform makes, and those that older files have.

use crate::Result;
use crate::catalog::{Catalog, Column, TableSpec, columns};

/// The columns that a view shows, with their types. A catalog that cannot be asked now costs those that no transform
/// makes any more, until a view is made anew.
pub(super) async fn shown(catalog: &dyn Catalog, spec: &TableSpec) -> Result<Vec<(String, String)>> {
    let name = &spec.table.name;
    let mut all = columns(&spec.table)?;
    match catalog.shown(name).await {
        Ok(Some(shown)) => {
            let more =
                |column: &Column| !all.iter().any(|known| known.name.eq_ignore_ascii_case(&column.name));
            let more: Vec<Column> = shown.columns.into_iter().filter(more).collect();
            all.extend(more);
        }
        Ok(None) => {}
        Err(e) => tracing::warn!("the view of {name} has the columns of now only: {e}"),
    }
    Ok(all.into_iter().filter_map(|Column { name, kind }| Some((name, duckdb(&kind)?))).collect())
}

/// A type of Hive in DuckDB's words; none: it is none that files of ours can have.
fn duckdb(hive: &str) -> Option<String> {
    let hive: String = hive.chars().filter(|c| !c.is_whitespace()).collect();
    let within = |name: &str| hive.strip_prefix(name)?.strip_prefix('<')?.strip_suffix('>');
    if let Some(item) = within("array") {
        return Some(format!("{}[]", duckdb(item)?));
    }
    if let Some(fields) = within("struct") {
        let field = |field: &str| {
            let (name, kind) = field.split_once(':')?;
            Some(format!("\"{name}\" {}", duckdb(kind)?))
        };
        let fields: Option<Vec<String>> = split(fields).into_iter().map(field).collect();
        return Some(format!("STRUCT({})", fields?.join(", ")));
    }
    Some(match hive.to_ascii_lowercase().as_str() {
        "string" => "VARCHAR".into(),
        "binary" => "BLOB".into(),
        "tinyint" => "TINYINT".into(),
        "smallint" => "SMALLINT".into(),
        "int" => "INTEGER".into(),
        "bigint" => "BIGINT".into(),
        "float" => "FLOAT".into(),
        "double" => "DOUBLE".into(),
        "boolean" => "BOOLEAN".into(),
        "date" => "DATE".into(),
        // All times in the lake are UTC.
        "timestamp" => "TIMESTAMP WITH TIME ZONE".into(),
        decimal if decimal.starts_with("decimal(") => decimal.to_uppercase(),
        _ => return None,
    })
}

/// The fields of a struct: what stands between commas that are in no brackets.
fn split(fields: &str) -> Vec<&str> {
    let (mut depth, mut from, mut found) = (0_i32, 0, Vec::new());
    for (at, c) in fields.char_indices() {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&fields[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    found.push(&fields[from..]);
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::Local;
    use crate::env::machine;
    use crate::table::{self, Table};

    #[test]
    fn types_have_duckdbs_names() {
        for (hive, name) in [
            ("string", Some("VARCHAR")),
            ("Decimal(18, 2)", Some("DECIMAL(18,2)")),
            ("timestamp", Some("TIMESTAMP WITH TIME ZONE")),
            ("array<string>", Some("VARCHAR[]")),
            ("array<struct<name:string,value:binary>>", Some("STRUCT(\"name\" VARCHAR, \"value\" BLOB)[]")),
            (
                "struct<a:decimal(9,2),b:struct<c:int,d:array<bigint>>>",
                Some("STRUCT(\"a\" DECIMAL(9,2), \"b\" STRUCT(\"c\" INTEGER, \"d\" BIGINT[]))"),
            ),
            ("map<string,int>", None),
            ("array<uniontype<int>>", None),
            ("", None),
        ] {
            assert_eq!(duckdb(hive).as_deref(), name, "{hive}");
        }
    }

    #[tokio::test]
    async fn columns_that_no_transform_makes_any_more_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Local::new(folder.path().to_owned(), machine());
        let wide = table::rejected();
        catalog.ensure(&[TableSpec::new(Arc::new(wide), "file:///t")]).await.unwrap();
        let Table { name, zone, schema, event_time, sorted } = table::rejected();
        let fields: Vec<_> =
            schema.fields().iter().filter(|field| field.name() != "stage").cloned().collect();
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        let narrow = TableSpec::new(Arc::new(Table { name, zone, schema, event_time, sorted }), "file:///t");
        let found = shown(&catalog, &narrow).await.unwrap();
        assert_eq!(found.len(), 11);
        assert_eq!(found.last(), Some(&("stage".to_owned(), "VARCHAR".to_owned())));
    }
}
