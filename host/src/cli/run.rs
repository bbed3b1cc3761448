//! `tidemill run`

use std::sync::Arc;

use clap::Args;

use crate::config::{Config, Flags, Layers};
use crate::observe::{Snapshot, Stats};
use crate::{Result, env, pipeline};

/// Runs the host.
#[derive(Args)]
#[command(after_help = HELP)]
pub(super) struct Run {
    #[command(flatten)]
    flags: Flags,
    /// Print the configuration with the source of each value, without secrets, and end
    #[arg(long)]
    print_config: bool,
    /// At the end, print what was done as JSON on stdout
    #[arg(long)]
    json: bool,
}

const HELP: &str =
    "Every setting can also stand in tidemill.toml under the same name, or in the environment as
TIDEMILL_…; flags go before environment before file. AWS settings are the SDK's standard ones
(AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL_S3, …). A command line can be seen by others on the machine:
put secrets into the [librdkafka] table of tidemill.toml or into TIDEMILL_LIBRDKAFKA=a=b,c=d.

Examples:
  tidemill run --brokers b1:9092,b2:9092 --commit-interval 2s
  tidemill run --raw file:///lake/raw --processed file:///lake/processed --until-end
  tidemill run -X security.protocol=SASL_SSL -X sasl.mechanism=SCRAM-SHA-512 --print-config";

impl Run {
    pub(super) fn run(self) -> Result<()> {
        let layers = Layers::load(&self.flags)?;
        let config = Config::of(&layers)?;
        if self.print_config {
            print!("{}", config.print(&layers));
            return Ok(());
        }
        crate::keep::keep(config.memory.0);
        let stats = Arc::new(Stats::default());
        let runtime = super::runtime()?;
        let result = runtime.block_on(async {
            let stop = super::signal::stop()?;
            pipeline::run(&config, env::machine(), stats.clone(), stop).await
        });
        // A store that does not answer must not hold up the end.
        runtime.shutdown_timeout(std::time::Duration::from_millis(500));
        let done = stats.snapshot();
        tracing::info!("{}", summary(&done));
        if self.json {
            println!("{}", serde_json::json!(done));
        }
        result
    }
}

/// One line on what a run did.
pub(super) fn summary(done: &Snapshot) -> String {
    let rows: Vec<String> = done.rows.iter().map(|(table, rows)| format!("{table} {rows}")).collect();
    match rows.is_empty() {
        true => "nothing was committed".into(),
        false => format!("{} events in {} commits; rows: {}", done.events, done.commits, rows.join(", ")),
    }
}
