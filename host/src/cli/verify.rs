//! `tidemill verify`

use clap::Args;

use super::progress::Bar;
use super::say;
use crate::audit::{self, Report};
use crate::catalog::TableSpec;
use crate::config::{Config, Flags};
use crate::pipeline::offline::Lake;
use crate::{Error, Result, env};

/// Proves that the lake is what the log says.
#[derive(Args)]
#[command(
    after_help = "It needs no Kafka, reads every file once, and changes nothing. Beside running hosts, what is just being
published or registered can be found missing: look again.

--repair publishes what last records left unpublished and registers the hours that have files in the catalog; it
never deletes anything. It needs the transforms, for the columns of their tables.

Exit codes: 0 proved, 1 something is wrong, 2 wrong usage.

Examples:
  tidemill verify
  tidemill verify --json | jq -r '.findings[] | .kind + \": \" + .what'
  tidemill verify --repair --transforms transforms"
)]
pub(super) struct Verify {
    /// First publish and register what was left undone
    #[arg(long)]
    repair: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Findings that are shown to people.
const SHOWN: usize = 100;

impl Verify {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::load(&self.flags)?;
        let runtime = super::runtime()?;
        let (repairs, report) = runtime.block_on(async {
            let mut lakes = Lake::open(&config, &env::machine(), "verify").await?;
            let repairs = match self.repair {
                true => {
                    let specs = specs(&lakes, &config).await?;
                    audit::repair(&mut lakes, &specs).await?
                }
                false => vec![],
            };
            let bar = Bar::new();
            let report = audit::verify(&mut lakes, &config.topic, &|text| bar.tell(text)).await;
            bar.end();
            Ok::<_, Error>((repairs, report?))
        })?;
        say(&if self.json { json(&repairs, &report) } else { text(&repairs, &report) })?;
        match report.findings.count() {
            0 => Ok(()),
            1 => Err(Error::stop("the lake is not what the log says: 1 finding")),
            count => Err(Error::stop(format!("the lake is not what the log says: {count} findings"))),
        }
    }
}

/// Logs may name different transforms for a moment: the tables of all of them.
async fn specs(lakes: &[Lake], config: &Config) -> Result<Vec<TableSpec>> {
    let mut specs: Vec<TableSpec> = Vec::new();
    for lake in lakes {
        for spec in lake.specs(config).await? {
            if specs.iter().all(|known| known.table.name != spec.table.name) {
                specs.push(spec);
            }
        }
    }
    Ok(specs)
}

fn json(repairs: &[String], report: &Report) -> String {
    let findings = &report.findings;
    let mut object = serde_json::json!({
        "ok": findings.count() == 0,
        "findings": findings.list(),
        "more": findings.count() - findings.list().len() as u64,
        "notes": report.notes,
        "repairs": repairs,
        "records": report.records,
        "events": report.events,
        "files": report.files,
        "tables": report.tables,
        "partitions": report.partitions,
        "hours": report.hours,
    });
    if report.logs > 1 {
        object["logs"] = report.logs.into();
    }
    format!("{object}\n")
}

fn text(repairs: &[String], report: &Report) -> String {
    let mut lines: Vec<String> = repairs.iter().map(|line| format!("repair: {line}")).collect();
    let Report { records, events, files, tables, partitions, hours, .. } = report;
    let logs = if report.logs > 1 { format!(" in {} logs", report.logs) } else { String::new() };
    lines.push(match records {
        0 => "the log is empty: nothing was committed".into(),
        _ => format!(
            "{records} records{logs}: {events} events of {partitions} partitions in {files} files of {tables} tables, {hours} hours"
        ),
    });
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    let findings = &report.findings;
    if findings.count() == 0 && *records > 0 {
        lines.extend(proved(report).into_iter().map(|what| format!("proved: {what}")));
    }
    lines.extend(findings.list().iter().take(SHOWN).map(|found| format!("{}: {}", found.kind, found.what)));
    let more = findings.count().saturating_sub(SHOWN as u64);
    if more > 0 {
        lines.push(format!("and {more} more; --json has the first ten thousand"));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn proved(report: &Report) -> Vec<String> {
    let Report { records, events, files, hours, .. } = report;
    let catalog = match report.catalog {
        true => format!("the catalog shows the {hours} hours that have files, where they lie, and no others"),
        false => "nothing of the catalog: there is none that could tell".into(),
    };
    vec![
        match report.logs {
            0 | 1 => format!(
                "the log is whole: {records} records from 0 on, each partition and maintenance in one chain"
            ),
            logs => format!(
                "the {logs} logs are whole: {records} records, in each from 0 on, each partition in the log of its \
                 shard, and it and each log's maintenance in one chain"
            ),
        },
        format!("each of the {events} events that were delivered is in the raw table exactly once"),
        "each row that a transform received was emitted, rejected, filtered or absorbed".into(),
        "each rejected event is in the table of rejected events, and not in a table of what rejected it"
            .into(),
        format!("the {files} files that the log names are there, with their sizes and rows, and no others"),
        "what transforms remember is there, to the byte".into(),
        catalog,
    ]
}
