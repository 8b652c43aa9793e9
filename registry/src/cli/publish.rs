//! `publish`: publishes packages, each signed by the publisher of its name.

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
    /// The packages, NAME-VERSION-TARGET.tbx
    #[arg(value_name = "ARCHIVE", required = true)]
    archives: Vec<PathBuf>,
    /// A publisher's key that is not in the folder of keys
    #[arg(long, value_name = "FILE")]
    publisher_key: Vec<PathBuf>,
    #[command(flatten)]
    keys: KeyOptions,
    #[command(flatten)]
    lifetimes: LifetimeOptions,
}

pub(super) async fn run(options: &Options) -> Result<(), RegistryError> {
    let keyring = options.keys.keyring(&options.folder, &options.publisher_key)?;
    let lifetimes = options.lifetimes.lifetimes();
    let new = repository::publish(&options.folder, &options.archives, &keyring, &lifetimes).await?;
    for file in &new {
        output::line(&format!("published {file}"));
    }
    if new.is_empty() {
        output::line("all of it was published already");
    }
    Ok(())
}
