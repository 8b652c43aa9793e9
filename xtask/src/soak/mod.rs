//! `cargo xtask soak KIND`: runs a server for a long time under one kind of load. It fails on the first thing that was
//! lost, leaked or refused, and never runs as part of the suite.

mod hostile;
mod ordinary;

use anyhow::Result;

/// The arguments of `soak`.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(clap::Subcommand)]
enum Kind {
    /// Every kind of hostile request at once, beside a steady load of ordinary ones
    Hostile(hostile::Options),
}

/// Runs the chosen load.
///
/// # Errors
/// When the server fails a check.
pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.kind {
        Kind::Hostile(options) => hostile::run(options),
    }
}
