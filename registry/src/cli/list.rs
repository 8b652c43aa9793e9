//! `list`: lists a registry's packages, including yanked and revoked ones.

use std::path::PathBuf;

use clap::Args;
use tinybase_registry::{Entry, Limits, RegistryError, repository};

use super::output;

/// What can be said of it.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The registry's folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(options: &Options) -> Result<(), RegistryError> {
    let entries = repository::list(&options.folder, &Limits::default()).await?;
    if options.json {
        output::json(&entries);
        return Ok(());
    }
    for entry in &entries {
        output::line(&line(entry));
    }
    Ok(())
}

fn line(entry: &Entry) -> String {
    let listing = &entry.listing;
    let state = match (&entry.revoked, &listing.yanked) {
        (Some(reason), _) => format!("  revoked: {reason}"),
        (None, Some(reason)) => format!("  yanked: {reason}"),
        (None, None) => String::new(),
    };
    format!("{} {}  {}  by {}{state}", listing.name, listing.version, listing.target, entry.publisher.name)
}
