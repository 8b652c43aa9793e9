//! `accept`: the operator's step of publishing, with keys that no publisher has.

use std::path::PathBuf;

use clap::Args;
use tinybase_registry::{RegistryError, repository};

use super::{
    options::{KeyOptions, LifetimeOptions},
    output,
};

/// What can be said of it.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The registry's folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The folder of the proposal
    #[arg(value_name = "PROPOSAL")]
    proposal: PathBuf,
    #[command(flatten)]
    keys: KeyOptions,
    #[command(flatten)]
    lifetimes: LifetimeOptions,
}

pub(super) async fn run(options: &Options) -> Result<(), RegistryError> {
    let keyring = options.keys.keyring(&options.folder, &[])?;
    let lifetimes = options.lifetimes.lifetimes();
    for file in repository::accept(&options.folder, &options.proposal, &keyring, &lifetimes).await? {
        output::line(&format!("published {file}"));
    }
    Ok(())
}
