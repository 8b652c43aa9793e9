//! The `tinybase` binary: passes the command line to the host library.

use std::process::ExitCode;

mod allocator;

fn main() -> ExitCode {
    allocator::give_back_soon();
    tinybase_host::cli::main()
}
