//! The host with named points at which a test can kill it (see `failpoint.rs`): never released.

fn main() -> std::process::ExitCode {
    tidemill::cli::main()
}
