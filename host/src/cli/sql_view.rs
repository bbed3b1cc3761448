//! `tidemill sql-view`

use clap::Args;

use super::say;
use crate::config::{Config, Flags};
use crate::history::{View, named, open, views, write_views};
use crate::{Result, env};

/// Prints views for DuckDB.
#[derive(Args)]
#[command(
    after_help = "A view reads every hour of its table in the generation that the commit log names, without a catalog. It names
no single file and no hour's folder: new events and new hours are there without a new view, and a query opens only
files of the hours that it asks for (date, hour). After a compaction an older view stays right until what the
compaction took away is removed, a day later by default. Compactions and `retain` keep the same text beside the log,
in PROCESSED/_tidemill/PIPELINE/views/TABLE.sql. For DuckDB 1.3 or later.

Examples:
  tidemill sql-view > views.sql && duckdb -init views.sql      all tables
  tidemill sql-view user_events                                one
  tidemill sql-view --write                                    write them beside the log now
  tidemill sql-view --json | jq '.[].since'                    since which hours which generation is read"
)]
pub(super) struct SqlView {
    /// Only these tables
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    /// Write them beside the log instead
    #[arg(long)]
    write: bool,
    /// One JSON array instead of SQL
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

impl SqlView {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::load(&self.flags)?;
        let runtime = super::runtime()?;
        let text = runtime.block_on(async {
            let (mut lake, specs) = open(&config, &env::machine(), "sql-view").await?;
            let specs: Vec<_> = named(&specs, &self.tables)?.into_iter().cloned().collect();
            if self.write {
                write_views(&mut lake, &specs).await?;
                let place = |name: &str| lake.stores.processed.location().join(&lake.keys.view(name));
                return Ok(specs.iter().map(|spec| format!("{}\n", place(&spec.table.name))).collect());
            }
            let views = views(&mut lake, &specs).await?;
            match self.json {
                true => Ok(format!("{}\n", serde_json::Value::from_iter(views.iter().map(json)))),
                false => Ok(views.iter().map(|view| view.sql.as_str()).collect::<Vec<_>>().join("\n")),
            }
        })?;
        say(&text)
    }
}

fn json(view: &View) -> serde_json::Value {
    let since =
        |(hour, generation): &(String, u32)| serde_json::json!({"hour": hour, "generation": generation});
    let since: Vec<_> = view.since.iter().map(since).collect();
    serde_json::json!({"table": view.table, "glob": view.glob, "since": since, "sql": view.sql})
}
