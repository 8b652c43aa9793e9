//! `init`: creates a registry with keys for all four roles; the root's keys are in a separate folder.

use std::{
    num::NonZeroU64,
    path::{Path, PathBuf},
};

use clap::Args;
use tinybase_registry::{
    RegistryError,
    repository::{
        self, RoleType,
        keys::{KeyFile, Keyring},
    },
};

use super::{options::LifetimeOptions, output};

/// What can be said of it.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The registry's folder, which is made
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The folder that the keys are made in [default: DIR-keys, beside the registry]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// The folder that the root's keys are made in, to be kept offline [default: root, in the folder of keys]
    #[arg(long, value_name = "DIR")]
    root_keys: Option<PathBuf>,
    /// How many keys the root has
    #[arg(long, value_name = "N", default_value = "1")]
    root_count: NonZeroU64,
    /// How many of them must sign
    #[arg(long, value_name = "N", default_value = "1")]
    root_threshold: NonZeroU64,
    /// Use keys that are there already instead of refusing them
    #[arg(long)]
    reuse_keys: bool,
    #[command(flatten)]
    lifetimes: LifetimeOptions,
}

pub(super) async fn run(options: &Options) -> Result<(), RegistryError> {
    repository::check_vacant(&options.folder)?;
    let keys =
        super::options::KeyOptions { keys: options.keys.clone(), more: Vec::new() }.folder(&options.folder);
    let root_keys = options.root_keys.clone().unwrap_or_else(|| keys.join("root"));
    let mut keyring = Keyring::default();
    let mut make = |path: &Path| -> Result<KeyFile, RegistryError> {
        let is_there = options.reuse_keys && path.exists();
        let key = if is_there { KeyFile::read(path)? } else { KeyFile::create(path)? };
        keyring.add(path)?;
        output::line(&format!("{} {}", if is_there { "took" } else { "made" }, path.display()));
        Ok(key)
    };
    let mut roles = Vec::new();
    let mut root = Vec::new();
    for number in 1..=options.root_count.get() {
        root.push(make(&root_keys.join(format!("root-{number}.pem")))?);
    }
    roles.push((RoleType::Root, root));
    for role in [RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp] {
        roles.push((role, vec![make(&keys.join(format!("{role}.pem")))?]));
    }
    let lifetimes = options.lifetimes.lifetimes();
    repository::init(&options.folder, &roles, options.root_threshold, &keyring, &lifetimes).await?;
    output::line(&format!("made the registry {}", options.folder.display()));
    output::line(&format!(
        "its root of trust is {}: give it to whoever uses the registry, by a way that they trust",
        options.folder.join("root.json").display()
    ));
    output::line(&format!("keep {} offline: only changes of the root need it", root_keys.display()));
    Ok(())
}
