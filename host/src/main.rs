//! The `tidemill` command. All it does itself is to end with the right exit code.

fn main() -> std::process::ExitCode {
    tidemill::cli::main()
}
