//! `tinybase extensions pack`: packs a built extension into one file, reproducibly to the byte. It never builds.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tinybase_package::{archive, library::check_library, unpacked::Package};

use super::{Failure, output};
use crate::{
    config,
    plugins::{
        manifest::Manifest,
        probe::{self, ProbeLimits},
    },
};

/// Where cargo puts a release build and a debug build.
const BUILT: [&str; 2] = ["target/release", "target/debug"];

/// The arguments of `pack`.
#[derive(Debug, clap::Args)]
pub(in super::super) struct Options {
    /// The extension's folder, with extension.toml
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The built library; the newest of target/release and target/debug where left out and not in the folder itself
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// The target that it was built for; this program's where left out
    #[arg(long, value_name = "TRIPLE", default_value = archive::HOST_TARGET)]
    target: String,
    /// Where to write the package
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let manifest = Manifest::read(&options.folder)?;
    let library = library(options, &manifest)?;
    let staged = stage(&options.folder, &library, &manifest)?;
    check(staged.path(), &options.target)?;
    let packed = archive::pack(staged.path(), &options.target, &options.out)?;
    let bytes = fs::metadata(&packed).map(|file| file.len()).unwrap_or_default();
    output::line(format!("packed {} ({bytes} bytes)", packed.display()))
}

/// Refuses what no host would load. A library for this machine is probed, as an installation would; one for another
/// machine must at least have the manifest next to it.
fn check(staged: &Path, target: &str) -> Result<(), Failure> {
    check_library(&Package::read(staged)?)?;
    if target == archive::HOST_TARGET {
        probe::probe(staged, ProbeLimits::of(&config::Plugins::default()))?;
    }
    Ok(())
}

fn library(options: &Options, manifest: &Manifest) -> Result<PathBuf, Failure> {
    if let Some(library) = &options.library {
        return Ok(library.clone());
    }
    let file = manifest.library_file();
    let beside = options.folder.join(&file);
    if beside.exists() {
        return Ok(beside);
    }
    let built = BUILT.iter().map(|folder| options.folder.join(folder).join(&file));
    let modified = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
    built.filter(|path| path.exists()).max_by_key(modified).ok_or_else(|| {
        Failure::new(format!(
            "there is no {file}: build it with cargo build --release, or name it with --library"
        ))
    })
}

/// Copies only the package's files into a separate folder: the extension's folder also contains sources and build
/// products.
fn stage(folder: &Path, library: &Path, manifest: &Manifest) -> Result<tempfile::TempDir, Failure> {
    let staged = tempfile::tempdir()?;
    let to = staged.path();
    copy(&folder.join("extension.toml"), &to.join("extension.toml"))?;
    copy(library, &to.join(manifest.library_file()))?;
    for assets in ["migrations", "pages", "templates"] {
        copy_tree(&folder.join(assets), &to.join(assets))?;
    }
    Ok(staged)
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), Failure> {
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            copy(&entry.path(), &target)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::copy(from, to).map(drop).map_err(|error| Failure::new(format!("{}: {error}", from.display())))
}
