//! `tidemill compile-component`: the child process in which a host compiles a component. Not for people.

use clap::Args;

use crate::Result;
use crate::transform::compile;

/// Compiles the component on stdin to stdout.
#[derive(Args)]
pub(super) struct Compile {
    /// Bytes of memory that it may take
    #[arg(long)]
    memory: u64,
    /// Seconds of CPU that it may take
    #[arg(long)]
    cpu: u64,
}

impl Compile {
    pub(super) fn run(self) -> Result<()> {
        compile::serve(self.memory, self.cpu)
    }
}
