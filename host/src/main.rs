//! The `tinybase` binary: hands the command line to the host library.

use std::process::ExitCode;

/// Requests allocate on one thread and are freed on another (the writer's answers above all), which this allocator bears
/// better than the system's: about a tenth more creates a second.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tinybase_host::cli::main()
}
