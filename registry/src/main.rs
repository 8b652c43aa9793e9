//! The binary `tinybase-registry`: parses the command line, runs one command, and reports an error in one line.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
