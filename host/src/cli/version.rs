//! `tinybase version`. It reads nothing.

use serde_json::json;

use super::{Failure, output};
use tinybase_abi::{ABI_MAJOR, ABI_MAJOR_OLDEST, ABI_MINOR};

/// The arguments of `version`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if options.json {
        let abi = json!({"major": ABI_MAJOR, "minor": ABI_MINOR, "major_oldest": ABI_MAJOR_OLDEST});
        return output::json(&json!({"version": version, "abi": abi}));
    }
    output::line(format!("tinybase {version}"))?;
    let accepted = (ABI_MAJOR_OLDEST..=ABI_MAJOR).map(|major| major.to_string()).collect::<Vec<_>>();
    output::line(format!(
        "plugin ABI {ABI_MAJOR}.{ABI_MINOR}; accepts plugins of ABI {}",
        accepted.join(", ")
    ))
}
