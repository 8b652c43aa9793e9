//! `revoke`: revokes a version that must no longer run, for the registry's operator.

use std::path::PathBuf;

use clap::Args;
use semver::Version;
use tinybase_registry::{RegistryError, Revocation, repository};

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
    /// The extension
    name: String,
    /// The version
    version: Version,
    /// Why, for whoever has it in use
    #[arg(long)]
    reason: String,
    /// SHA-256 of the one package that is meant, in hex [default: every package of the version]
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    #[command(flatten)]
    keys: KeyOptions,
    #[command(flatten)]
    lifetimes: LifetimeOptions,
}

pub(super) async fn run(options: &Options) -> Result<(), RegistryError> {
    let keyring = options.keys.keyring(&options.folder, &[])?;
    let revocation = Revocation {
        name: options.name.clone(),
        version: options.version.clone(),
        sha256: options.sha256.clone(),
        reason: options.reason.clone(),
    };
    repository::revoke(&options.folder, revocation, &keyring, &options.lifetimes.lifetimes()).await?;
    output::line(&format!("{} {} is revoked", options.name, options.version));
    Ok(())
}
