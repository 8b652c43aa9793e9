//! `refresh`: signs a registry's metadata again, so that it does not expire.

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
    /// Also the registry's own role, and each publisher whose keys are at hand
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    keys: KeyOptions,
    #[command(flatten)]
    lifetimes: LifetimeOptions,
}

pub(super) async fn run(options: &Options) -> Result<(), RegistryError> {
    let keyring = options.keys.keyring(&options.folder, &[])?;
    repository::refresh(&options.folder, options.all, &keyring, &options.lifetimes.lifetimes()).await?;
    output::line(&format!("signed {} again", options.folder.display()));
    Ok(())
}
