//! `rotate`: replaces the keys of a role or a publisher. New keys are created if none are given.

use std::{num::NonZeroU64, path::PathBuf};

use clap::{Args, ValueEnum};
use tinybase_registry::{
    RegistryError,
    repository::{self, Holder, RoleType, keys::KeyFile},
};

use super::{
    options::{KeyOptions, LifetimeOptions},
    output,
};

/// Whose keys.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Whose {
    Root,
    Timestamp,
    Snapshot,
    Targets,
    Publisher,
}

/// What can be said of it.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The registry's folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Whose keys are replaced
    whose: Whose,
    /// The publisher, where it is one
    #[arg(value_name = "NAME", required_if_eq("whose", "publisher"))]
    publisher: Option<String>,
    /// The new keys [default: as many as there are now are made in the folder of keys]
    #[arg(long, value_name = "FILE")]
    new_key: Vec<PathBuf>,
    /// How many of the new keys must sign [default: as many as now]
    #[arg(long, value_name = "N")]
    threshold: Option<NonZeroU64>,
    #[command(flatten)]
    keys: KeyOptions,
    #[command(flatten)]
    lifetimes: LifetimeOptions,
}

pub(super) async fn run(options: &Options) -> Result<(), RegistryError> {
    let (holder, name) = match (options.whose, &options.publisher) {
        (Whose::Publisher, Some(name)) => (Holder::Publisher(name.clone()), name.as_str()),
        (Whose::Root, _) => (Holder::Role(RoleType::Root), "root"),
        (Whose::Timestamp, _) => (Holder::Role(RoleType::Timestamp), "timestamp"),
        (Whose::Snapshot, _) => (Holder::Role(RoleType::Snapshot), "snapshot"),
        (Whose::Targets | Whose::Publisher, _) => (Holder::Role(RoleType::Targets), "targets"),
    };
    let now = repository::holders(&options.folder, &holder)?;
    let mut paths = options.new_key.clone();
    if paths.is_empty() {
        for _ in 0..now.keys {
            paths.push(make(options, name)?);
        }
    }
    let replaced = replace(options, &holder, &paths, now.threshold).await;
    if replaced.is_err() && options.new_key.is_empty() {
        // Unused new keys are deleted.
        for path in &paths {
            let _ = std::fs::remove_file(path);
        }
    }
    replaced?;
    output::line(&format!("the keys of {name} were replaced; the old ones sign for it no more"));
    Ok(())
}

async fn replace(
    options: &Options,
    holder: &Holder,
    paths: &[PathBuf],
    threshold: NonZeroU64,
) -> Result<(), RegistryError> {
    let new_keys = paths.iter().map(|path| KeyFile::read(path)).collect::<Result<Vec<_>, _>>()?;
    let keyring = options.keys.keyring(&options.folder, paths)?;
    let threshold = options.threshold.unwrap_or(threshold);
    let lifetimes = options.lifetimes.lifetimes();
    repository::rotate(&options.folder, holder, &new_keys, threshold, &keyring, &lifetimes).await
}

/// Creates a key in the first unused file of this name.
fn make(options: &Options, name: &str) -> Result<PathBuf, RegistryError> {
    let folder = options.keys.folder(&options.folder);
    let folder = match options.whose {
        Whose::Root => folder.join("root"),
        Whose::Publisher => folder.join("publishers"),
        _ => folder,
    };
    let mut numbers = 2..;
    let path = numbers.find_map(|number| {
        let path = folder.join(format!("{name}-{number}.pem"));
        (!path.exists()).then_some(path)
    });
    let path = path.expect("there is a number that is free");
    KeyFile::create(&path)?;
    output::line(&format!("made {}", path.display()));
    Ok(path)
}
