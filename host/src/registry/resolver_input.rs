//! The resolver's input about this instance: what is installed, what is locked, and what this host can load.

use semver::{Version, VersionReq};
use tinybase_package::archive::HOST_TARGET;
use tinybase_registry::{
    Publisher, Registry,
    resolver::{self, Catalogue, ResolverInput},
};

use super::InstallError;
use crate::{
    config::{BUNDLED_REGISTRY, Config},
    plugins::{lock_file::LockFile, manifest::Manifest, store::Installed},
};

/// Returns everything that determines which versions may be chosen.
pub(super) fn resolver_input<'a>(
    config: &Config,
    installed: &[Installed],
    registries: &'a [Registry],
) -> Result<ResolverInput<'a>, InstallError> {
    Ok(ResolverInput {
        installed: installed.iter().filter_map(known).collect(),
        locked: locked(config, registries)?,
        registries: registries.iter().map(Catalogue::from).collect(),
        host: host_version(),
        abi_majors: (tinybase_abi::ABI_MAJOR_OLDEST..=tinybase_abi::ABI_MAJOR).collect(),
        target: HOST_TARGET.to_owned(),
    })
}

/// Returns this host's version.
pub(super) fn host_version() -> Version {
    Version::parse(env!("CARGO_PKG_VERSION")).expect("cargo checks the package's version")
}

fn known(installed: &Installed) -> Option<resolver::Installed> {
    let manifest: Manifest = serde_json::from_value(installed.manifest.clone()).ok()?;
    Some(resolver::Installed {
        name: installed.name.clone(),
        version: manifest.version,
        dependencies: manifest.dependencies,
        archive_sha256: installed.origin.archive_sha256.clone(),
    })
}

fn locked(config: &Config, registries: &[Registry]) -> Result<Vec<resolver::Locked>, InstallError> {
    let file = LockFile::read(&config.dir)?;
    let locked = file.extensions.into_iter().filter_map(|(name, locked)| {
        let threshold = registries
            .iter()
            .flat_map(Registry::entries)
            .find(|entry| {
                entry.listing.name == name && Some(&entry.publisher.name) == locked.publisher.as_ref()
            })
            .map_or(1, |entry| entry.publisher.threshold);
        let keys = locked.publisher_keys;
        // The bundled registry is as trusted as its program, and is signed again with each build of that
        // program.
        let is_bundled = locked.registry.as_deref() == Some(BUNDLED_REGISTRY);
        let publisher =
            locked.publisher.filter(|_| !is_bundled).map(|name| Publisher { name, keys, threshold });
        Some(resolver::Locked { name, version: locked.version.parse().ok()?, publisher })
    });
    Ok(locked.collect())
}

/// Returns a requirement that only this version matches, even if it is a pre-release.
pub(super) fn exactly(version: &Version) -> VersionReq {
    format!("={version}").parse().expect("a version is a requirement of itself")
}
