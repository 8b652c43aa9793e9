//! The workspace according to cargo: its root, its target folder and its plugins. It never builds anything.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The host's package.
pub(crate) const HOST_PACKAGE: &str = "tinybase";

/// The file in a plugin's folder that describes the extension.
pub(crate) const MANIFEST_NAME: &str = "extension.toml";

/// The build profile of the host and its plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For tests.
    Debug,
    /// Optimized, for `serve`.
    Release,
    /// For shipping: optimized across all crates, which takes twice as long.
    Dist,
}

impl Profile {
    /// Returns the profile for an option `--release`.
    pub(crate) fn optimised(release: bool) -> Profile {
        if release { Profile::Release } else { Profile::Debug }
    }
}

/// The workspace as cargo sees it.
pub(crate) struct Workspace {
    /// The folder with the root Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's folder for build output.
    pub(crate) target_dir: PathBuf,
    /// The version of the host, which is the version of a release.
    pub(crate) version: String,
    /// Every plugin under `plugins/`, by folder name.
    pub(crate) plugins: Vec<Plugin>,
}

/// One plugin that is shipped with the host.
pub(crate) struct Plugin {
    /// The cargo package.
    pub(crate) package: String,
    /// The extension's name, from its manifest.
    pub(crate) name: String,
    /// `plugins/<folder>`, absolute.
    pub(crate) dir: PathBuf,
    /// The library's file name, `libtinybase_collections.so`.
    pub(crate) library: String,
}

/// Returns a `cargo` command: the cargo that runs this program, if there is one.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

impl Workspace {
    /// Reads the workspace that this command belongs to.
    ///
    /// # Errors
    /// When cargo cannot describe it, or a plugin's manifest is missing or has no name.
    pub(crate) fn load() -> Result<Self> {
        let manifest_dir =
            std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
        let root =
            Path::new(&manifest_dir).parent().context("xtask lies inside of the workspace")?.to_owned();
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(&root)
            .output()
            .context("cargo cannot be started")?;
        if !output.status.success() {
            bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let metadata: Value =
            serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
        Self::from_metadata(root, &metadata)
    }

    fn from_metadata(root: PathBuf, metadata: &Value) -> Result<Self> {
        let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
        let mut plugins = Vec::new();
        let mut version = None;
        for package in packages {
            if package["name"] == HOST_PACKAGE {
                version = package["version"].as_str().map(str::to_owned);
            }
            plugins.extend(plugin(&root.join("plugins"), package)?);
        }
        plugins.sort_by(|a, b| a.name.cmp(&b.name));
        let target_dir = metadata["target_directory"].as_str().context("cargo names no target folder")?;
        let version = version.context("the workspace has no package for the host")?;
        Ok(Self { root, target_dir: PathBuf::from(target_dir), version, plugins })
    }

    /// Returns the output folder of `profile`.
    pub(crate) fn profile_dir(&self, profile: Profile) -> PathBuf {
        self.target_dir.join(match profile {
            Profile::Debug => "debug",
            Profile::Release => "release",
            Profile::Dist => "dist",
        })
    }

    /// Returns the path of the host's binary.
    pub(crate) fn binary(&self, profile: Profile) -> PathBuf {
        self.profile_dir(profile).join(format!("{HOST_PACKAGE}{}", std::env::consts::EXE_SUFFIX))
    }
}

/// Returns the plugin of `package` if it is under `plugins_dir` and builds a loadable library.
fn plugin(plugins_dir: &Path, package: &Value) -> Result<Option<Plugin>> {
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap_or_default());
    let Some(dir) = manifest.parent().filter(|dir| dir.starts_with(plugins_dir)) else { return Ok(None) };
    let targets = package["targets"].as_array().map_or(&[][..], Vec::as_slice);
    let is_library = |target: &&Value| {
        target["crate_types"].as_array().is_some_and(|types| types.iter().any(|kind| kind == "cdylib"))
    };
    let Some(target) = targets.iter().find(is_library) else { return Ok(None) };
    let library = format!(
        "{}{}{}",
        std::env::consts::DLL_PREFIX,
        target["name"].as_str().unwrap_or_default().replace('-', "_"),
        std::env::consts::DLL_SUFFIX
    );
    Ok(Some(Plugin {
        package: package["name"].as_str().unwrap_or_default().to_owned(),
        name: extension_name(&dir.join(MANIFEST_NAME))?,
        dir: dir.to_owned(),
        library,
    }))
}

/// Returns the `name` in an extension's manifest.
fn extension_name(manifest: &Path) -> Result<String> {
    let text = fs::read_to_string(manifest)
        .with_context(|| format!("{}: every plugin needs this manifest", manifest.display()))?;
    let table: toml::Table = text.parse().with_context(|| format!("{}: not TOML", manifest.display()))?;
    let name = table.get("name").and_then(toml::Value::as_str);
    name.map(str::to_owned).with_context(|| format!("{}: add name = \"…\" at the top", manifest.display()))
}
