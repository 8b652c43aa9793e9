//! The tool's command line. Each command has its own file; none of them handles metadata or keys directly.

mod accept;
mod delegate;
mod init;
mod keys;
mod list;
mod mirror;
mod options;
mod output;
mod pack;
mod propose;
mod publish;
mod refresh;
mod revoke;
mod rotate;
mod serve;
mod verify;
mod yank;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tinybase_registry::RegistryError;

/// The exit code for a failure, reported in one line on stderr.
const EXIT_FAILED: u8 = 1;

/// Makes, signs, copies and serves registries of TinyBase extensions
#[derive(Debug, Parser)]
#[command(name = "tinybase-registry", version, disable_help_subcommand = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// One variant a command.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make a registry, and the keys that sign for it
    Init(init::Options),
    /// Make and list keys
    #[command(subcommand)]
    Keys(keys::Command),
    /// Make a publisher responsible for names of extensions
    Delegate(delegate::Options),
    /// Pack an extension's folder
    Pack(pack::Options),
    /// Publish packages
    Publish(publish::Options),
    /// Sign packages as a publisher, for the registry's operator to accept
    Propose(propose::Options),
    /// Sign a proposal with further keys of its publisher
    Cosign(propose::Cosign),
    /// Publish what a publisher proposes
    Accept(accept::Options),
    /// Take a version back: it is not chosen again, and stays where it is in use
    Yank(yank::Options),
    /// Revoke a version: it is refused, and disabled where it is in use
    Revoke(revoke::Options),
    /// Replace the keys of a role or of a publisher
    Rotate(rotate::Options),
    /// Sign again, so that nothing expires
    Refresh(refresh::Options),
    /// Copy a registry into a folder, or bring a copy up to date
    Mirror(mirror::Options),
    /// Serve a registry's folder over HTTP
    Serve(serve::Options),
    /// Verify all metadata and every package
    Verify(verify::Options),
    /// List what a registry has
    List(list::Options),
}

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(cli.command)),
        Err(error) => {
            output::fault(&format!("no runtime can be made: {error}"));
            return ExitCode::from(EXIT_FAILED);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::fault(&format!("{error} ({})", error.code()));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

async fn run(command: Command) -> Result<(), RegistryError> {
    match command {
        Command::Init(options) => init::run(&options).await,
        Command::Keys(command) => keys::run(&command),
        Command::Delegate(options) => delegate::run(&options).await,
        Command::Pack(options) => pack::run(&options),
        Command::Publish(options) => publish::run(&options).await,
        Command::Propose(options) => propose::run(&options),
        Command::Cosign(options) => propose::cosign(&options),
        Command::Accept(options) => accept::run(&options).await,
        Command::Yank(options) => yank::run(&options).await,
        Command::Revoke(options) => revoke::run(&options).await,
        Command::Rotate(options) => rotate::run(&options).await,
        Command::Refresh(options) => refresh::run(&options).await,
        Command::Mirror(options) => mirror::run(&options).await,
        Command::Serve(options) => serve::run(&options).await,
        Command::Verify(options) => verify::run(&options).await,
        Command::List(options) => list::run(&options).await,
    }
}
