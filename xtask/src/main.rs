//! The commands of the project, run as `cargo xtask <command>`. It owns how the project is built, tested, measured
//! and packed, and never holds anything that the shipped binary needs.
#![allow(clippy::print_stdout, reason = "a command line tool answers on stdout")]

mod build;
mod dist;
mod serve;
mod step;
mod test;
mod workspace;

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
    /// Check the format, lint with warnings as errors, and run every test
    Test(test::Options),
    /// Pack one folder and one archive that run on a machine without Rust
    Dist(dist::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Build(options) => build::run(&options),
        Command::Serve(options) => serve::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Dist(options) => dist::run(&options),
    }
}
