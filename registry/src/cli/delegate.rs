//! `delegate`: sets which publisher may publish which extensions.

use std::{num::NonZeroU64, path::PathBuf};

use clap::Args;
use tinybase_registry::{
    RegistryError,
    repository::{self, keys::KeyFile},
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
    /// The names of the extensions
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// The publisher
    #[arg(long, value_name = "NAME")]
    publisher: String,
    /// The keys of a new publisher [default: one is made in the folder of keys]
    #[arg(long, value_name = "FILE")]
    publisher_key: Vec<PathBuf>,
    /// The first proposal of a new publisher, which brings its keys
    #[arg(long, value_name = "DIR", conflicts_with = "publisher_key")]
    proposal: Option<PathBuf>,
    /// How many of a new publisher's keys must sign
    #[arg(long, value_name = "N", default_value = "1")]
    threshold: NonZeroU64,
    #[command(flatten)]
    keys: KeyOptions,
    #[command(flatten)]
    lifetimes: LifetimeOptions,
}

pub(super) async fn run(options: &Options) -> Result<(), RegistryError> {
    let publisher = options.publisher.as_str();
    let mut paths = options.publisher_key.clone();
    let holder = repository::Holder::Publisher(publisher.to_owned());
    let is_given = !paths.is_empty() || options.proposal.is_some();
    if !is_given && repository::holders(&options.folder, &holder).is_err() {
        let path = options.keys.folder(&options.folder).join("publishers").join(format!("{publisher}.pem"));
        if !path.exists() {
            KeyFile::create(&path)?;
            output::line(&format!("made {}", path.display()));
        }
        paths.push(path);
    }
    let keys = paths.iter().map(|path| KeyFile::read(path)).collect::<Result<Vec<_>, _>>()?;
    let keyring = options.keys.keyring(&options.folder, &paths)?;
    let delegation = repository::Delegation {
        names: &options.names,
        publisher,
        keys: &keys,
        threshold: options.threshold,
        proposal: options.proposal.as_deref(),
    };
    repository::delegate(&options.folder, &delegation, &keyring, &options.lifetimes.lifetimes()).await?;
    if let Some(proposal) = &options.proposal {
        for id in repository::Proposer::read(proposal)?.key_ids()? {
            output::line(&format!("{publisher} signs with the key {id}: ask them whether it is theirs"));
        }
    }
    output::line(&format!("{publisher} publishes {} from now on", options.names.join(", ")));
    Ok(())
}
