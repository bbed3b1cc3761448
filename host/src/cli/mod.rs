//! The command line: a file per command. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.

mod backfill;
pub mod build;
mod compact;
mod compile;
mod demo;
mod deploy;
mod doctor;
mod erase;
mod gc;
mod graph;
mod health;
mod log;
mod logs;
mod moment;
mod monitor;
mod produce;
mod progress;
mod rejects;
mod reprocess;
mod retain;
mod run;
mod sign;
mod signal;
mod sql_view;
mod status;
mod verify;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::transform::Compiling;
use crate::{Kind, Result};
use logs::LogFormat;
use status::report::short;

/// A Kafka topic in your lake: sandboxed WebAssembly transforms, Parquet on S3, tables in AWS Glue.
#[derive(Parser)]
#[command(name = "tidemill", bin_name = "tidemill", version, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    /// Say more: -v for details, -vv for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
    /// How log lines are written [default: human; json for a host whose log goes to no terminal]
    #[arg(long, global = true, value_enum, env = logs::FORMAT, hide_env_values = true, help_heading = "Global options")]
    log_format: Option<LogFormat>,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  tidemill demo                      see it work: no Kafka, no AWS needed
  tidemill run                       the reference deployment: user-events to S3 and Glue
  tidemill run --raw file:///lake/raw --processed file:///lake/processed
  tidemill run --print-config        what would be run, and where each value comes from";

#[derive(Subcommand)]
enum Command {
    /// Run the host: Kafka, transforms, Parquet, catalog
    Run(run::Run),
    /// Watch the whole way of the data on this machine: no Kafka, no AWS
    Demo(demo::Demo),
    /// Generate events into a topic
    Produce(produce::Produce),
    /// Compile transform crates to components
    Build(build::Build),
    /// Put a transform where the running hosts look for them, and wait until they run it
    #[command(name = "deploy-transform")]
    Deploy(deploy::Deploy),
    /// Sign components for hosts that take no others
    Sign(sign::Sign),
    /// Print the pipeline that the transforms make
    Graph(graph::Graph),
    /// Show how the running hosts are: transforms, partitions, the last commit
    Status(status::Status),
    /// Ask whether the host of this machine is alive, or does its work: for health checks
    Health(health::Health),
    /// Watch the running hosts, or the lake alone, live; --once for scripts
    Monitor(monitor::Monitor),
    /// Print the commit log: what became true, and when
    Log(log::Log),
    /// Look for what is wrong with brokers, zones, catalog, transforms and this machine, and say what to do
    Doctor(doctor::Doctor),
    /// Prove that every event is in the lake exactly once, or say what is wrong
    Verify(verify::Verify),
    /// Count rejected events by reason, and send them back through the transforms
    Rejects(rejects::Rejects),
    /// Make tables of past hours anew from the raw zone, by the transforms that run now
    Reprocess(reprocess::Reprocess),
    /// Merge the small files of closed hours into large ones, beside hosts and readers
    Compact(compact::Compact),
    /// Take hours past their retention out of the lake and the catalog
    Retain(retain::Retain),
    /// Bring history that did not come through the stream: files, and what the topic had before the lake began
    Backfill(backfill::Backfill),
    /// Take every row of one person out of the lake, for privacy requests
    Erase(erase::Erase),
    /// Print views for DuckDB that read the right generation of every hour
    #[command(name = "sql-view")]
    SqlView(sql_view::SqlView),
    /// Remove what hosts that died have left and that will never become true
    Gc(gc::Gc),
    #[command(name = crate::transform::compile::COMMAND, hide = true)]
    Compile(compile::Compile),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  tidemill completions bash > /etc/bash_completion.d/tidemill")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs the command that the arguments ask for.
pub fn main() -> ExitCode {
    // Clap ends the process itself for --help (0) and wrong usage (2).
    let cli = Cli::parse();
    log(&cli);
    if let Err(e) = Compiling::in_children() {
        return code(Err(e));
    }
    let result = match cli.command {
        Command::Run(command) => command.run(),
        Command::Demo(command) => command.run(),
        Command::Produce(command) => command.run(),
        Command::Build(command) => command.run(),
        Command::Deploy(command) => command.run(),
        Command::Sign(command) => command.run(),
        Command::Graph(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Health(command) => command.run(),
        Command::Monitor(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Log(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Rejects(command) => command.run(),
        Command::Reprocess(command) => command.run(),
        Command::Compact(command) => command.run(),
        Command::Retain(command) => command.run(),
        Command::Backfill(command) => command.run(),
        Command::Erase(command) => command.run(),
        Command::SqlView(command) => command.run(),
        Command::Gc(command) => command.run(),
        Command::Compile(command) => command.run(),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "tidemill", &mut std::io::stdout());
            Ok(())
        }
    };
    code(result)
}

fn code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(if e.kind() == Kind::Usage { 2 } else { 1 })
        }
    }
}

/// Warnings for the demo and for tools, progress for a host. For people, but for a host whose log goes to no terminal.
fn log(cli: &Cli) {
    let level = match (&cli.command, cli.verbose) {
        // It would be written across the picture.
        (Command::Monitor(monitor), _) if monitor.fills_the_terminal() => return,
        (Command::Run(_), 0) => "warn,tidemill=info",
        // What is wrong is what it prints.
        (Command::Doctor(_), 0) => "error",
        (_, 0) => "warn",
        (_, 1) => "warn,tidemill=debug",
        _ => "info,tidemill=trace,librdkafka=debug",
    };
    let unattended = matches!(cli.command, Command::Run(_)) && !std::io::stderr().is_terminal();
    let format = if unattended { LogFormat::Json } else { LogFormat::Human };
    logs::begin(level, cli.log_format.unwrap_or(format));
}

/// Prints on stdout. A reader that has gone, as `head` does, is no error.
fn say(text: &str) -> Result<()> {
    heard(text).map(drop)
}

/// The same. False: the reader has gone.
fn heard(text: &str) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(crate::Error::stop(format!("cannot print: {e}"))),
        Ok(()) => Ok(true),
    }
}

/// Columns for people: each as wide as its widest value, numbers (all but `left`) to the right.
fn table(rows: &[Vec<String>], left: &[usize]) -> String {
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|v| v.chars().count()).max();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, value) in row.iter().enumerate() {
            let width = width(column).unwrap_or_default();
            let gap = if column == 0 { "" } else { "  " };
            match left.contains(&column) {
                true => line.push_str(&format!("{gap}{value:<width$}")),
                false => line.push_str(&format!("{gap}{value:>width$}")),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A record that a command wrote, with the number of its log where there are several.
type Written = (Option<u32>, u64);

/// Its name for people, as `17`, or `3/17` in the log of that number.
fn record((log, seq): &Written) -> String {
    log.map_or_else(|| seq.to_string(), |log| format!("{log}/{seq}"))
}

/// For programs: numbers, or names where a number does not tell.
fn records(written: &[Written]) -> Vec<serde_json::Value> {
    let one = |written: &Written| match written {
        (None, seq) => (*seq).into(),
        several => record(several).into(),
    };
    written.iter().map(one).collect()
}

/// A size for people.
pub(crate) fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// An age for people: its two largest units.
pub(crate) fn age(age: std::time::Duration) -> String {
    let seconds = age.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

/// A runtime for what is asynchronous: uploads, the catalog, the committer.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| crate::Error::stop(format!("cannot start the runtime: {e}")))
}

/// What a transform did, for people. Writing to a string cannot fail.
pub(super) fn worked(text: &mut String, work: &crate::commit::record::Work) {
    use std::fmt::Write as _;
    let _ = writeln!(
        text,
        "  transform {} {}: {} rows in, {} emitted, {} rejected, {} filtered, {} absorbed",
        work.name, work.version, work.input, work.emitted, work.rejected, work.filtered, work.absorbed
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
