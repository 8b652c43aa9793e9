//! `verify`: verifies everything that a client would check, and every package.

use std::path::PathBuf;

use clap::Args;
use tinybase_registry::{Limits, RegistryError, repository};

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
    let checked = repository::verify(&options.folder, &Limits::default()).await?;
    if options.json {
        output::json(&checked);
        return Ok(());
    }
    output::line(&format!(
        "{} packages of {} bytes, {} revocations: all of it is as it was signed",
        checked.archives, checked.bytes, checked.revoked
    ));
    for (role, expires) in &checked.expires {
        output::line(&format!("{role} is good until {expires}"));
    }
    for file in &checked.unreadable {
        output::line(&format!("{file} says nothing that this version understands"));
    }
    Ok(())
}
