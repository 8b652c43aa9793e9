//! `propose` and `cosign`: the publisher's step of publishing, with keys that the operator never sees.

use std::path::PathBuf;

use clap::Args;
use tinybase_registry::{
    RegistryError,
    repository::{self, keys::Keyring},
};

use super::{options::LifetimeOptions, output};

/// What can be proposed.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The folder of the proposal, which is made
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// The packages; none where a new publisher introduces itself
    #[arg(value_name = "ARCHIVE")]
    archives: Vec<PathBuf>,
    /// The publisher
    #[arg(long, value_name = "NAME")]
    publisher: String,
    /// The publisher's keys that sign
    #[arg(long, value_name = "FILE", required = true)]
    publisher_key: Vec<PathBuf>,
    /// A copy of the registry as it is today; left out by a new publisher
    #[arg(long, value_name = "DIR")]
    copy: Option<PathBuf>,
    #[command(flatten)]
    lifetimes: LifetimeOptions,
}

/// What can be signed too.
#[derive(Debug, Args)]
pub(super) struct Cosign {
    /// The folder of the proposal
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Further keys of the publisher
    #[arg(long, value_name = "FILE", required = true)]
    publisher_key: Vec<PathBuf>,
}

pub(super) fn run(options: &Options) -> Result<(), RegistryError> {
    let keyring = keyring(&options.publisher_key)?;
    let (copy, lifetimes) = (options.copy.as_deref(), options.lifetimes.lifetimes());
    repository::propose(&options.out, &options.publisher, copy, &options.archives, &keyring, &lifetimes)?;
    output::line(&format!("{} is for the registry's operator to accept", options.out.display()));
    Ok(())
}

pub(super) fn cosign(options: &Cosign) -> Result<(), RegistryError> {
    repository::cosign(&options.out, &keyring(&options.publisher_key)?)?;
    output::line(&format!("signed {} too", options.out.display()));
    Ok(())
}

fn keyring(paths: &[PathBuf]) -> Result<Keyring, RegistryError> {
    let mut keyring = Keyring::default();
    for path in paths {
        keyring.add(path)?;
    }
    Ok(keyring)
}
