//! The command line in help and completions: the host's commands, and those of the instance's enabled extensions. If
//! the latter cannot be read in a short time, only the host's are shown: help never fails.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{CommandFactory, error::ErrorKind};

use super::{Cli, build_runtime, extension, site::InstanceDir};

/// The time limit for reading the extensions.
const READ_TIME_MAX: Duration = Duration::from_secs(2);
const WORKER_THREADS: usize = 1;
const BLOCKING_THREADS_MAX: usize = 4;

/// Returns the host's commands and those of the extensions that are enabled in `place`.
pub(super) fn with_extensions(place: &InstanceDir) -> clap::Command {
    let read = || {
        let config = place.config(&[]).ok()?;
        let threads = build_runtime(WORKER_THREADS, BLOCKING_THREADS_MAX).ok()?;
        threads
            .block_on(async { tokio::time::timeout(READ_TIME_MAX, extension::commands(&config)).await.ok()? })
    };
    let commands = read().unwrap_or_default();
    Cli::command().subcommands(commands)
}

/// Prints clap's help or error for a command line.
pub(super) fn print(asked: &clap::Error, arguments: &[OsString]) {
    let is_of_all = match asked.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => dir_of(arguments),
        _ => None,
    };
    let Some(dir) = is_of_all else {
        // Nothing can be done if stdout or stderr is closed.
        let _ = asked.print();
        return;
    };
    let mut command = with_extensions(&InstanceDir { dir });
    // As above.
    let _ = if asked.use_stderr() { eprint_help(&mut command) } else { command.print_help() };
}

fn eprint_help(command: &mut clap::Command) -> io::Result<()> {
    write!(io::stderr(), "{}", command.render_help())
}

/// Returns the folder of a command line without a command; `None` if it has one.
fn dir_of(arguments: &[OsString]) -> Option<PathBuf> {
    let (mut dir, mut rest) = (PathBuf::from("."), arguments.iter());
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy();
        match text.strip_prefix("--dir=") {
            Some(given) => dir = given.into(),
            None if text == "--dir" => dir = rest.next()?.into(),
            None if text.starts_with('-') => {}
            None => return None,
        }
    }
    Some(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_read_where_no_command_is_named() {
        let dir = |line: &str| {
            let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            dir_of(&arguments)
        };
        assert_eq!(dir(""), Some(".".into()));
        assert_eq!(dir("--help"), Some(".".into()));
        assert_eq!(dir("--dir x -h"), Some("x".into()));
        assert_eq!(dir("-h --dir=x/y"), Some("x/y".into()));
        for line in ["serve --help", "--dir x serve -h", "--dir"] {
            assert_eq!(dir(line), None, "{line}");
        }
    }
}
