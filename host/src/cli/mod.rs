//! The command line: its commands, and the format of output and failures. Each command has its own file.

mod admin;
mod backup;
mod completions;
mod db;
mod db_copy;
mod extension;
mod extensions;
mod help;
mod init;
mod keys;
mod output;
mod password;
pub mod probe;
mod prompt;
mod serve;
mod serving;
mod signals;
mod site;
mod stop;
mod unclaimed;
mod version;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use self::site::InstanceDir;
use crate::{
    config::{self, Config, LogFormat, LogLevel},
    isolation, logging,
    plugins::probe::COMMAND as PROBE,
};

/// Success.
const EXIT_DONE: u8 = 0;
/// Failure, with one line on stderr.
const EXIT_FAILED: u8 = 1;
/// Wrong usage.
const EXIT_USAGE: u8 = 2;

/// The number of threads of a command that does not serve.
const COMMAND_WORKER_THREADS: usize = 2;

/// A backend in one process: accounts, collections, functions and whatever extensions add.
#[derive(Debug, Parser)]
#[command(name = "tinybase", version, disable_help_subcommand = true, arg_required_else_help = true)]
struct Cli {
    /// The folder that holds tinybase.toml and the data
    #[arg(long, global = true, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

/// One variant a command.
#[derive(Debug, Subcommand)]
enum Command {
    /// Print the version and the plugin ABI versions that are accepted
    Version(version::Options),
    /// Prepare a folder: tinybase.toml, the database, signing keys, functions/, an admin
    Init(init::Options),
    /// Serve
    Serve(serve::Options),
    /// Manage admins
    #[command(subcommand)]
    Admin(admin::Command),
    /// Show the keys that the database is served with, or serve it with others
    #[command(subcommand)]
    Keys(keys::Command),
    /// Manage the database's tables
    #[command(subcommand)]
    Db(db::Command),
    /// Make, list and restore backups
    #[command(subcommand)]
    Backup(backup::Command),
    /// Install, list, enable and disable extensions
    #[command(subcommand)]
    Extensions(extensions::Command),
    /// Print completions for a shell
    Completions(completions::Options),
    /// A command that an extension declares
    #[command(external_subcommand)]
    Extension(Vec<OsString>),
}

/// Why a command failed: one line for stderr, and the exit code.
#[derive(Debug)]
pub struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// Exit code 1: the command failed.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), code: EXIT_FAILED }
    }

    /// Exit code 2: wrong usage.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), code: EXIT_USAGE }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::new(error.to_string())
    }
}

/// Runs the command in the process's arguments. Returns the exit code: 0 success, 1 failure, 2 wrong usage.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // The probe is not a command for people, and must not load anything that a command might.
    if let Some((command, rest)) = arguments.split_first()
        && command == PROBE
    {
        return probe::run(rest);
    }
    let code = match Cli::try_parse() {
        Ok(cli) => match run(cli) {
            Ok(()) => EXIT_DONE,
            Err(failure) => {
                // One line, whatever the message contains.
                if !failure.message.is_empty() {
                    eprintln!("error: {}", failure.message.replace('\n', " ").trim());
                }
                failure.code
            }
        },
        Err(asked) => {
            let code = if asked.use_stderr() { EXIT_USAGE } else { EXIT_DONE };
            help::print(&asked, &arguments);
            code
        }
    };
    ExitCode::from(code)
}

fn run(cli: Cli) -> Result<(), Failure> {
    let place = InstanceDir { dir: cli.dir };
    match cli.command {
        Command::Version(options) => version::run(&options),
        Command::Init(options) => init::run(place, options),
        Command::Serve(options) => serve::run(&place, &options),
        Command::Admin(command) => admin::run(&place, command),
        Command::Keys(command) => keys::run(&place, command),
        Command::Db(command) => db::run(&place, command),
        Command::Backup(command) => backup::run(&place, command),
        Command::Extensions(command) => extensions::run(&place, command),
        Command::Completions(options) => completions::run(&options, &mut help::with_extensions(&place)),
        Command::Extension(arguments) => extension::run_extension_command(&place, &arguments),
    }
}

/// Returns the runtime of a server, with the configured number of threads.
fn serving_runtime(config: &config::Server) -> Result<Threads, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = if config.worker_threads == 0 { cores } else { config.worker_threads };
    build_runtime(workers, config.blocking_threads_max)
}

/// Returns the runtime of a command that does its work and ends. Its log only shows problems.
fn command_runtime(config: &Config) -> Result<Threads, Failure> {
    let level = match config.server.log_level {
        LogLevel::Info => LogLevel::Warn,
        chosen => chosen,
    };
    start_log(level, config.server.log_format, None)?;
    tell_warnings(config);
    build_runtime(COMMAND_WORKER_THREADS, config.server.blocking_threads_max)
}

/// The threads of a command.
struct Threads(Runtime);

impl Threads {
    /// Runs `work` to completion. A thread that a plugin blocks does not keep the process alive.
    fn block_on<T>(self, work: impl Future<Output = T>) -> T {
        let done = self.0.block_on(work);
        self.0.shutdown_background();
        done
    }
}

fn build_runtime(worker_threads: usize, blocking_threads_max: usize) -> Result<Threads, Failure> {
    let runtime = isolation::runtime(worker_threads, blocking_threads_max);
    runtime
        .map(Threads)
        .map_err(|cause| Failure::new(format!("the threads to work on cannot be started: {cause}")))
}

/// Logs the configuration's warnings. Logging must have been started.
fn tell_warnings(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
}

fn start_log(level: LogLevel, format: LogFormat, other: Option<logging::Other>) -> Result<(), Failure> {
    logging::start(level, format, other)
        .map_err(|cause| Failure::new(format!("the log cannot be started: {cause}")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_is_declared_well() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_extension_may_be_called_like_a_command() {
        for command in Cli::command().get_subcommands() {
            for name in std::iter::once(command.get_name()).chain(command.get_all_aliases()) {
                assert!(tinybase_package::manifest::is_reserved(name), "{name} is not reserved");
            }
        }
    }
}
