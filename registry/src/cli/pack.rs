//! `pack`: packs an extension's folder into a package to publish.

use std::path::PathBuf;

use clap::Args;
use tinybase_package::{archive, library, unpacked::Package};
use tinybase_registry::RegistryError;

use super::output;

/// What can be said of it.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The extension's folder, with its manifest and its built library
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The folder that the package is written to
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// The target that the library was built for
    #[arg(long, value_name = "TARGET", default_value = archive::HOST_TARGET)]
    target: String,
}

pub(super) fn run(options: &Options) -> Result<(), RegistryError> {
    // An invalid package is rejected below.
    if let Ok(package) = Package::read(&options.folder) {
        library::check_library(&package)
            .map_err(|error| RegistryError::not_publishable(error.to_string()))?;
    }
    let packed = archive::pack(&options.folder, &options.target, &options.out);
    let path =
        packed.map_err(|error| RegistryError::not_publishable(format!("{error} ({})", error.code())))?;
    output::line(&format!("packed {}", path.display()));
    Ok(())
}
