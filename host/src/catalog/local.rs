//! A catalog in files, for lakes on a local disk.
//!
//! ```text
//! <root>/<table>/table.json                            name, location, columns
//! <root>/<table>/partitions/date=…,hour=….json         one per registered hour
//! ```
//!
//! A file is written under another name and renamed, so that a reader sees all of it or nothing. Hosts that
//! change one table at a time take turns by a lock on `<table>/.lock`, which ends with its process.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::schema::{Column, PARTITION_COLUMNS, columns, merge, same_location};
use super::{Catalog, Partition, Registered, Shown, TableSpec};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::generations::Place;
use crate::sink::Keys;
use crate::table::Hour;

/// How often a lock is tried, and how long is waited in between: five seconds in all.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// A catalog in a folder.
pub struct Local {
    files: Files,
    registered: Registered,
}

#[derive(Clone)]
struct Files {
    root: PathBuf,
    env: Env,
}

/// `table.json`
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TableFile {
    name: String,
    location: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    columns: Vec<Column>,
    partition_columns: Vec<Column>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    merge: BTreeMap<String, String>,
}

/// One partition.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PartitionFile {
    date: String,
    hour: String,
    /// Its folder, relative to the table's location: a lake that is moved keeps its partitions.
    folder: String,
}

impl Local {
    /// The catalog in that folder, which is made when it is first needed: see
    /// [`Keys::catalog`](crate::sink::Keys::catalog).
    pub fn new(root: PathBuf, env: Env) -> Local {
        Local { files: Files { root, env }, registered: Registered::default() }
    }
}

#[async_trait]
impl Catalog for Local {
    async fn ensure(&self, tables: &[TableSpec]) -> Result<()> {
        let (files, tables) = (self.files.clone(), tables.to_vec());
        blocking(move || tables.iter().try_for_each(|spec| files.ensure(spec))).await
    }

    async fn register(&self, table: &TableSpec, hours: &[Place]) -> Result<()> {
        let new = self.registered.unknown(table, hours);
        if !new.is_empty() {
            let (files, spec) = (self.files.clone(), table.clone());
            blocking(move || files.register(&spec, &new)).await?;
        }
        self.registered.add(table, hours);
        Ok(())
    }

    async fn withdraw(&self, table: &TableSpec, hours: &[Hour]) -> Result<()> {
        let name = table.table.name.clone();
        self.registered.forget_hours(&name, hours);
        let (files, hours) = (self.files.clone(), hours.to_vec());
        blocking(move || files.withdraw(&name, &hours)).await
    }

    fn forget(&self, table: &str) {
        self.registered.forget(table);
    }

    async fn partitions(&self, table: &str) -> Result<Option<Vec<Partition>>> {
        let (files, table) = (self.files.clone(), table.to_owned());
        blocking(move || files.partitions(&table)).await.map(Some)
    }

    async fn shown(&self, table: &str) -> Result<Option<Shown>> {
        let path = self.files.root.join(Keys::catalog_table(table));
        let found: Option<TableFile> = blocking(move || read(&path)).await?;
        Ok(found.map(|file| Shown { columns: file.columns, projected: false }))
    }
}

impl Files {
    fn ensure(&self, spec: &TableSpec) -> Result<()> {
        let name = &spec.table.name;
        let wanted = columns(&spec.table)?;
        let path = self.root.join(Keys::catalog_table(name));
        let _turn = self.lock(&path)?;
        let old: Option<TableFile> = read(&path)?;
        let columns = match &old {
            Some(old) => {
                let mend = format!("delete {} if the lake was moved", path.display());
                same_location(name, &old.location, &spec.location, &mend)?;
                merge(name, &old.columns, &wanted)?.unwrap_or_else(|| old.columns.clone())
            }
            None => wanted,
        };
        let string = |name: &str| Column { name: name.into(), kind: "string".into() };
        let new = TableFile {
            name: name.clone(),
            location: spec.location.clone(),
            description: spec.description.clone(),
            columns,
            partition_columns: PARTITION_COLUMNS.map(string).into(),
            merge: spec.merge.clone(),
        };
        self.write(&path, &new)
    }

    fn table(&self, name: &str) -> Result<TableFile> {
        let path = self.root.join(Keys::catalog_table(name));
        read(&path)?.ok_or_else(|| {
            Error::stop(format!("table `{name}` is not in the catalog: {} is missing", path.display()))
        })
    }

    fn partitions(&self, table: &str) -> Result<Vec<Partition>> {
        let TableFile { location, .. } = self.table(table)?;
        let folder = self.root.join(Keys::catalog_partitions(table));
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
            other => other.map_err(|error| failed("list", &folder, &error))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| failed("list", &folder, &error))?.path();
            // Drafts have names of their own.
            if path.extension().is_some_and(|extension| extension == "json")
                && let Some(PartitionFile { date, hour, folder }) = read(&path)?
            {
                found.push((date, hour, format!("{location}/{folder}")));
            }
        }
        found.sort();
        Ok(found)
    }

    fn register(&self, spec: &TableSpec, places: &[Place]) -> Result<()> {
        let table = &spec.table.name;
        self.table(table)?;
        for place in places {
            let (date, of_day) = place.hour.values();
            let path = self.root.join(Keys::catalog_partition(table, place.hour));
            let there: Option<PartitionFile> = read(&path)?;
            if there
                .is_some_and(|there| spec.is_later(&format!("{}/{}", spec.location, there.folder), *place))
            {
                continue;
            }
            self.write(&path, &PartitionFile { date, hour: of_day, folder: Keys::folder(*place) })?;
        }
        Ok(())
    }

    fn withdraw(&self, table: &str, hours: &[Hour]) -> Result<()> {
        for hour in hours {
            let path = self.root.join(Keys::catalog_partition(table, *hour));
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed("remove", &path, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Waits for this host's turn to change a table. The turn ends when the file is closed.
    fn lock(&self, table: &Path) -> Result<File> {
        let folder = table.parent().unwrap_or(&self.root);
        let path = folder.join(".lock");
        let failed = |error| failed("lock", &path, &error);
        fs::create_dir_all(folder).map_err(failed)?;
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        Err(Error::retry(format!("another host keeps {} locked", path.display())))
    }

    /// Writes a file as a whole, durably. The same content again is no write.
    fn write<T: Serialize>(&self, path: &Path, content: &T) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(content)
            .map_err(|error| Error::stop(format!("cannot write {}: {error}", path.display())))?;
        text.push(b'\n');
        if fs::read(path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(&self.root);
        let draft = folder.join(format!(".{}.tmp", self.env.fresh_id()));
        let written = || {
            fs::create_dir_all(folder)?;
            let mut file = File::create(&draft)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&draft, path)?;
            File::open(folder)?.sync_all()
        };
        written().map_err(|error| {
            // It may not exist; nobody reads it anyway.
            let _gone = fs::remove_file(&draft);
            failed("write", path, &error)
        })
    }
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path, &error)),
    };
    let content = serde_json::from_slice(&text).map_err(|error| {
        Error::stop(format!("{} is no description that this version can read: {error}", path.display()))
    })?;
    Ok(Some(content))
}

fn failed(doing: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::retry(format!(
        "cannot {doing} {} of the local catalog (setting `catalog`): {error}",
        path.display()
    ))
}

async fn blocking<T: Send + 'static>(doing: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(doing).await;
    done.map_err(|error| Error::retry(format!("a task of the local catalog broke: {error}")))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::conformance::{Probe, conforms, spec};
    use crate::env::machine;

    #[async_trait]
    impl Probe for PathBuf {
        async fn columns(&self, table: &str) -> Vec<(String, String)> {
            let file: TableFile =
                read(&self.join(Keys::catalog_table(table))).expect("readable").expect("there");
            file.columns.into_iter().map(|column| (column.name, column.kind)).collect()
        }

        async fn locations(&self, table: &str) -> Vec<String> {
            let file: TableFile =
                read(&self.join(Keys::catalog_table(table))).expect("readable").expect("there");
            let folder = self.join(table).join("partitions");
            let partition = |entry: std::io::Result<fs::DirEntry>| {
                let path = entry.expect("readable").path();
                let partition: PartitionFile = read(&path).expect("readable").expect("there");
                format!("{}/{}", file.location, partition.folder)
            };
            fs::read_dir(folder).expect("readable").map(partition).collect()
        }
    }

    #[tokio::test]
    async fn it_conforms() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("catalog");
        let host = || Local::new(root.clone(), machine());
        conforms(&host(), &host(), &root, "file:///lake").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn hosts_that_add_columns_at_once_lose_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().to_owned();
        let one = |n: usize| {
            let (root, name) = (root.clone(), format!("c{n}"));
            async move {
                let host = Local::new(root, machine());
                host.ensure(&[spec("t", &[(&name, arrow::datatypes::DataType::Utf8)], "file:///lake/t")])
                    .await
            }
        };
        for result in futures::future::join_all((0..8).map(one)).await {
            result.expect("they take turns");
        }
        assert_eq!(root.columns("t").await.len(), 8 + 1);
        let left: Vec<_> = fs::read_dir(root.join("t")).expect("readable").flatten().collect();
        assert_eq!(left.len(), 2, "no draft is left: {left:?}");
    }

    #[tokio::test]
    async fn a_host_that_never_ends_its_turn_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("t")).expect("room");
        let taken = File::create(folder.path().join("t/.lock")).expect("room");
        taken.lock().expect("free");
        let host = Local::new(folder.path().to_owned(), machine());
        let error = host.ensure(&[spec("t", &[], "file:///lake/t")]).await.expect_err("locked");
        assert_eq!(error.kind(), crate::Kind::Retry);
    }
}
