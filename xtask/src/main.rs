//! The commands of the project, run as `cargo xtask <command>`. It owns how the project is built, tested, measured and
//! packed, and never contains anything that the shipped binary needs.
#![allow(clippy::print_stdout, reason = "a command line tool answers on stdout")]

mod api_site;
mod bench;
mod blocked;
mod build;
mod clients;
mod copy;
mod crash;
mod dist;
mod fuzz_api;
mod hostile;
mod postgres;
mod process;
mod raw_http;
mod registry;
mod sdk;
mod serve;
mod soak;
mod step;
mod suite;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What can be asked for.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The commands of the TinyBase project")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// One variant a command.
#[derive(Subcommand)]
enum Command {
    /// Build the host and every plugin, and stage each plugin beside the binary
    Build(build::Options),
    /// Build in release, initialise ./tinybase-data if it is not there, and serve it
    Serve(serve::Options),
    /// Check the format, lint with warnings as errors, and run every test, those of data on both engines
    Test(test::Options),
    /// Start a PostgreSQL of its own for a command that runs tests, or until Ctrl-C
    Postgres(postgres::Options),
    /// Measure TinyBase beside PocketBase, and print what each figure is and must be
    Bench(bench::Options),
    /// Hold every answer of a live server against its OpenAPI document, as admin, as user and as nobody
    FuzzApi(fuzz_api::Options),
    /// Make clients in TypeScript and Python from the document of a live server, compile them, and let them work
    Clients,
    /// Kill the server under load, again and again, and look for what it acknowledged
    Crash(crash::Options),
    /// Start servers whose extensions block threads, again and again, and look whether all else goes on
    Blocked(blocked::Options),
    /// Copy a large instance from SQLite to PostgreSQL and back, killed once on each way
    Copy(copy::Options),
    /// Run a server for a long time under a kind of load, and look for what it lost, leaked or refused
    Soak(soak::Options),
    /// Pack one folder and one archive that run on a machine without Rust
    Dist(dist::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Build(options) => build::run(&options),
        Command::Serve(options) => serve::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Postgres(options) => postgres::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::FuzzApi(options) => fuzz_api::run(&options),
        Command::Clients => clients::run(),
        Command::Crash(options) => crash::run(&options),
        Command::Blocked(options) => blocked::run(&options),
        Command::Copy(options) => copy::run(&options),
        Command::Soak(options) => soak::run(&options),
        Command::Dist(options) => dist::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
