//! Parses the command line and dispatches.

fn main() -> std::process::ExitCode {
    wharf::cli::main()
}
