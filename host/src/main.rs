//! The `tinybase` binary: hands the command line to the host library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tinybase_host::cli::main()
}
