//! `mirror`: copies a registry to plain files, for a nearby server or a place without a network.

use std::path::PathBuf;

use clap::Args;
use tinybase_registry::{Limits, Location, RegistryError, Source, repository};

use super::output;

/// What can be said of it.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The registry: a URL or a folder
    #[arg(value_name = "FROM")]
    from: String,
    /// The folder of the copy
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The registry's root of trust [default: the one of the copy that is there]
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
}

pub(super) async fn run(options: &Options) -> Result<(), RegistryError> {
    let root = options.root.clone().unwrap_or_else(|| options.folder.join("root.json"));
    let source = Source {
        name: options.from.clone(),
        location: Location::parse(&options.from)?,
        root: repository::read_root(&root)?,
        allow_expired: false,
    };
    let fetched = repository::mirror(&source, &options.folder, &Limits::default()).await?;
    output::line(&format!(
        "{} is a copy of {}; {fetched} packages were fetched",
        options.folder.display(),
        options.from
    ));
    Ok(())
}
