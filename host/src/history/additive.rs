//! Rows of an additive table, put together by key: what a reader sums anyway.
//!
//! Only what its transform declared is done: columns that are keys, and columns that are summed or of which the least
//! or the greatest counts. Nulls count for nothing. Rows whose sum would not fit stay apart, which is as right.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{OwnedRow, RowConverter, SortField};

use crate::{Error, Result};

/// Rows by key.
pub(crate) struct Additive {
    schema: SchemaRef,
    /// The places of keys, and how they are told apart.
    keys: Vec<usize>,
    converter: RowConverter,
    groups: HashMap<Box<[u8]>, usize>,
    /// The keys of each group.
    rows: Vec<OwnedRow>,
    sums: Vec<(usize, Sum)>,
    /// Bytes of keys and values, about.
    held: usize,
}

/// One column that is no key.
enum Sum {
    Int(Vec<Option<i64>>),
    Float(Vec<Option<f64>>),
    Decimal(Vec<Option<i128>>),
    Best { greatest: bool, converter: RowConverter, rows: Vec<Option<OwnedRow>> },
}

fn failed(error: ArrowError) -> Error {
    Error::stop(format!("cannot merge rows by key: {error}"))
}

impl Additive {
    /// For rows with these columns, which merge like this: see [`TableSpec::merge`](crate::catalog::TableSpec::merge).
    pub(crate) fn new(schema: &SchemaRef, merge: &BTreeMap<String, String>) -> Result<Additive> {
        let (mut keys, mut sums) = (Vec::new(), Vec::new());
        for (at, field) in schema.fields().iter().enumerate() {
            let name = field.name();
            match merge.get(name).map(String::as_str) {
                Some("key") => keys.push(at),
                Some("sum") => sums.push((
                    at,
                    match field.data_type() {
                        DataType::Int64 => Sum::Int(vec![]),
                        DataType::Float64 => Sum::Float(vec![]),
                        DataType::Decimal128(..) => Sum::Decimal(vec![]),
                        other => {
                            return Err(Error::stop(format!("column `{name}` is summed and is {other}")));
                        }
                    },
                )),
                Some(how @ ("min" | "max")) => {
                    let field = SortField::new(field.data_type().clone());
                    let converter = RowConverter::new(vec![field]).map_err(failed)?;
                    sums.push((at, Sum::Best { greatest: how == "max", converter, rows: vec![] }));
                }
                _ => return Err(Error::stop(format!("nobody says how column `{name}` is merged"))),
            }
        }
        let fields = keys.iter().map(|at| SortField::new(schema.field(*at).data_type().clone())).collect();
        let converter = RowConverter::new(fields).map_err(failed)?;
        let (schema, groups) = (schema.clone(), HashMap::new());
        Ok(Additive { schema, keys, converter, groups, rows: vec![], sums, held: 0 })
    }

    /// Bytes that are held, about.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Adds rows.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns: Vec<ArrayRef> = self.keys.iter().map(|at| batch.column(*at).clone()).collect();
        let keys = self.converter.convert_columns(&columns).map_err(failed)?;
        for (row, key) in keys.iter().enumerate() {
            let known = self.groups.get(key.as_ref()).copied();
            // A sum that would not fit begins anew.
            let fits =
                |group: &usize| self.sums.iter().all(|(at, sum)| sum.fits(*group, batch.column(*at), row));
            let group = match known.filter(fits) {
                Some(group) => group,
                None => {
                    let group = self.rows.len();
                    self.groups.insert(key.as_ref().into(), group);
                    self.rows.push(key.owned());
                    self.held += 2 * key.as_ref().len() + 96 + 24 * self.sums.len();
                    self.sums.iter_mut().for_each(|(_, sum)| sum.begin());
                    group
                }
            };
            for (at, sum) in &mut self.sums {
                sum.add(group, batch.column(*at), row)?;
            }
        }
        Ok(())
    }

    /// The rows that came of it, and begins anew.
    pub(crate) fn take(&mut self) -> Result<RecordBatch> {
        self.groups.clear();
        self.held = 0;
        let rows = std::mem::take(&mut self.rows);
        let keys = self.converter.convert_rows(rows.iter().map(OwnedRow::row)).map_err(failed)?;
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.schema.fields().len()];
        for (at, column) in self.keys.iter().zip(keys) {
            columns[*at] = Some(column);
        }
        for (at, sum) in &mut self.sums {
            columns[*at] = Some(sum.take(self.schema.field(*at).data_type())?);
        }
        let columns: Option<Vec<ArrayRef>> = columns.into_iter().collect();
        let columns = columns.ok_or_else(|| Error::stop("a merged table lacks a column; this is a bug"))?;
        RecordBatch::try_new(self.schema.clone(), columns).map_err(failed)
    }
}

impl Sum {
    fn begin(&mut self) {
        match self {
            Sum::Int(sums) => sums.push(None),
            Sum::Float(sums) => sums.push(None),
            Sum::Decimal(sums) => sums.push(None),
            Sum::Best { rows, .. } => rows.push(None),
        }
    }

    fn fits(&self, group: usize, column: &ArrayRef, row: usize) -> bool {
        if column.is_null(row) {
            return true;
        }
        match self {
            Sum::Int(sums) => sums[group]
                .is_none_or(|sum| sum.checked_add(column.as_primitive::<Int64Type>().value(row)).is_some()),
            Sum::Decimal(sums) => {
                // The largest of a precision is far below what fits; readers would not take more.
                let DataType::Decimal128(precision, _) = column.data_type() else { return false };
                let most = 10_i128.checked_pow(u32::from(*precision)).unwrap_or(i128::MAX);
                let value = column.as_primitive::<Decimal128Type>().value(row);
                sums[group].is_none_or(|sum| {
                    sum.checked_add(value).is_some_and(|sum| sum.unsigned_abs() < most.unsigned_abs())
                })
            }
            Sum::Float(_) | Sum::Best { .. } => true,
        }
    }

    fn add(&mut self, group: usize, column: &ArrayRef, row: usize) -> Result<()> {
        if column.is_null(row) {
            return Ok(());
        }
        match self {
            Sum::Int(sums) => {
                let value = column.as_primitive::<Int64Type>().value(row);
                sums[group] = Some(sums[group].unwrap_or_default().saturating_add(value));
            }
            Sum::Float(sums) => {
                let value = column.as_primitive::<Float64Type>().value(row);
                sums[group] = Some(sums[group].unwrap_or_default() + value);
            }
            Sum::Decimal(sums) => {
                let value = column.as_primitive::<Decimal128Type>().value(row);
                sums[group] = Some(sums[group].unwrap_or_default().saturating_add(value));
            }
            Sum::Best { greatest, converter, rows } => {
                let found = converter.convert_columns(&[column.slice(row, 1)]).map_err(failed)?;
                let (new, best) = (found.row(0), &mut rows[group]);
                let better =
                    best.as_ref().is_none_or(|old| if *greatest { new > old.row() } else { new < old.row() });
                if better {
                    *best = Some(new.owned());
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, kind: &DataType) -> Result<ArrayRef> {
        Ok(match self {
            Sum::Int(sums) => Arc::new(Int64Array::from(std::mem::take(sums))),
            Sum::Float(sums) => Arc::new(Float64Array::from(std::mem::take(sums))),
            Sum::Decimal(sums) => {
                let array = Decimal128Array::from(std::mem::take(sums));
                Arc::new(array.with_data_type(kind.clone()))
            }
            Sum::Best { converter, rows, .. } => {
                let rows = std::mem::take(rows);
                let null = arrow::array::new_null_array(kind, 1);
                let null = converter.convert_columns(&[null]).map_err(failed)?;
                let null = null.row(0).owned();
                let rows = rows.iter().map(|row| row.as_ref().unwrap_or(&null).row());
                let mut columns = converter.convert_rows(rows).map_err(failed)?;
                columns.pop().ok_or_else(|| Error::stop("a column vanished; this is a bug"))?
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;
    use crate::table::timestamp_type;

    type Line<'a> = (i64, Option<&'a str>, Option<i64>, f64, Option<i64>, Option<&'a str>);

    fn batch(lines: &[Line<'_>]) -> RecordBatch {
        let fields = vec![
            Field::new("minute", timestamp_type(), false),
            Field::new("device", DataType::Utf8, true),
            Field::new("events", DataType::Int64, true),
            Field::new("seconds", DataType::Float64, false),
            Field::new("first", DataType::Int64, true),
            Field::new("last", DataType::Utf8, true),
        ];
        let times = TimestampMicrosecondArray::from_iter_values(lines.iter().map(|line| line.0));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(times.with_timezone("UTC")),
            Arc::new(StringArray::from_iter(lines.iter().map(|line| line.1))),
            Arc::new(Int64Array::from_iter(lines.iter().map(|line| line.2))),
            Arc::new(Float64Array::from_iter_values(lines.iter().map(|line| line.3))),
            Arc::new(Int64Array::from_iter(lines.iter().map(|line| line.4))),
            Arc::new(StringArray::from_iter(lines.iter().map(|line| line.5))),
        ];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    fn merged(lines: &[Line<'_>]) -> Vec<String> {
        let batch = batch(lines);
        let merge = [
            ("minute", "key"),
            ("device", "key"),
            ("events", "sum"),
            ("seconds", "sum"),
            ("first", "min"),
            ("last", "max"),
        ];
        let merge = merge.map(|(column, how)| (column.to_owned(), how.to_owned())).into();
        let mut sums = Additive::new(&batch.schema(), &merge).unwrap();
        for row in 0..batch.num_rows() {
            sums.add(&batch.slice(row, 1)).unwrap();
        }
        assert!(sums.held() > 0);
        let found = sums.take().unwrap();
        assert_eq!((sums.held(), found.schema()), (0, batch.schema()));
        let text = |column: &ArrayRef, row| {
            let time = matches!(column.data_type(), DataType::Timestamp(..));
            let column = if time { &arrow::compute::cast(column, &DataType::Int64).unwrap() } else { column };
            arrow::util::display::array_value_to_string(column, row).unwrap()
        };
        let line = |row| found.columns().iter().map(|c| text(c, row)).collect::<Vec<_>>().join(" ");
        let mut lines: Vec<String> = (0..found.num_rows()).map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn rows_of_a_key_become_one() {
        assert_eq!(
            merged(&[
                (0, Some("a"), Some(1), 0.5, Some(3), Some("x")),
                (0, None, Some(7), 1.0, None, None),
                (0, Some("a"), Some(2), 0.25, Some(-1), Some("z")),
                (1, Some("a"), Some(5), 1.0, Some(9), Some("y")),
                (0, Some("a"), None, 0.0, None, None),
                (0, None, None, 1.0, None, None),
            ]),
            ["0  7 2.0  ", "0 a 3 0.75 -1 z", "1 a 5 1.0 9 y",]
        );
    }

    #[test]
    fn a_sum_that_does_not_fit_stays_apart() {
        let most = Some(i64::MAX - 1);
        let lines = merged(&[
            (0, None, most, 0.0, None, None),
            (0, None, Some(5), 0.0, None, None),
            (0, None, Some(1), 0.0, None, None),
        ]);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines.iter().any(|line| line.contains(" 6 ")), "{lines:?}");
    }
}
