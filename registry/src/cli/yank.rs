//! `yank`: yanks a version for its publisher, or undoes that.

use std::path::PathBuf;

use clap::Args;
use semver::Version;
use tinybase_registry::{
    RegistryError,
    repository::{self, Subject},
};

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
    /// Why, for whoever asks for it
    #[arg(long, required_unless_present = "undo", conflicts_with = "undo")]
    reason: Option<String>,
    /// Let it be chosen again
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    keys: KeyOptions,
    #[command(flatten)]
    lifetimes: LifetimeOptions,
}

pub(super) async fn run(options: &Options) -> Result<(), RegistryError> {
    let keyring = options.keys.keyring(&options.folder, &[])?;
    let subject = Subject { name: options.name.clone(), version: options.version.clone() };
    let (reason, lifetimes) = (options.reason.as_deref(), options.lifetimes.lifetimes());
    repository::yank(&options.folder, &subject, reason, &keyring, &lifetimes).await?;
    let what = if options.undo { "may be chosen again" } else { "is not chosen again" };
    output::line(&format!("{} {} {what}", options.name, options.version));
    Ok(())
}
