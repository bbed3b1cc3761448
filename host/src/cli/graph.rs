//! `tidemill graph`

use clap::Args;

use crate::config::{Config, Flags};
use crate::{Result, pipeline};

/// Prints the pipeline.
#[derive(Args)]
#[command(after_help = "Examples:\n  tidemill graph\n  tidemill graph --dot | dot -Tsvg > pipeline.svg")]
pub(super) struct Graph {
    #[command(flatten)]
    flags: Flags,
    /// In the DOT language of Graphviz
    #[arg(long)]
    dot: bool,
}

impl Graph {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::load(&self.flags)?;
        let graph = super::runtime()?.block_on(pipeline::graph(&config))?;
        let text = if self.dot { graph.dot(&config.topic) } else { graph.text(&config.topic) };
        print!("{text}");
        Ok(())
    }
}
