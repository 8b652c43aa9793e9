//! The binary `tinybase-registry`: reads the command line, runs one command, says in one line what went wrong.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
