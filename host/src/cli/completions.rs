//! `tinybase completions`: completes the commands of the host, and of the extensions in the current folder.

use super::{Failure, output};

/// The arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn run(options: &Options, command: &mut clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, command, "tinybase", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())
}
