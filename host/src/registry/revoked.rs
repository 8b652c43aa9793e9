//! Revoked versions: refuses to install them from a file, to enable them again or to roll back to them. Never
//! changes what is installed.

use semver::Version;
use tinybase_registry::Registry;

use super::{InstallError, sources};
use crate::{
    config::{Config, Revoked},
    plugins::{Plugins, store::Installed},
};

/// Which version of an installed extension is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The installed version.
    Installed,
    /// The previous version, which a rollback restores.
    Previous,
}

/// Refuses to run a version that a registry revoked, unless `extensions.revoked` only warns. Returns why
/// registries could not be reached; the server's periodic check finds their revocations later.
///
/// # Errors
/// `extension_revoked` with the registry's reason; database errors.
pub async fn check_not_revoked(
    config: &Config,
    plugins: &Plugins,
    name: &str,
    which: Which,
) -> Result<Vec<String>, InstallError> {
    // The change itself refuses an extension that is not installed.
    let Some(installed) = plugins.store().find(name).await?.filter(|one| !one.is_builtin) else {
        return Ok(Vec::new());
    };
    let Some((version, sha256)) = version_of(installed, which) else { return Ok(Vec::new()) };
    if config.extensions.revoked == Revoked::Warn {
        return Ok(Vec::new());
    }
    let registry_set = sources::open(config).await;
    refuse_revoked(&registry_set.registries, name, &version, sha256.as_deref())?;
    Ok(registry_set.failures.iter().map(ToString::to_string).collect())
}

fn version_of(installed: Installed, which: Which) -> Option<(Version, Option<String>)> {
    let (version, origin) = match which {
        Which::Installed => (installed.version, installed.origin),
        Which::Previous => (installed.previous_version?, installed.previous_origin.unwrap_or_default()),
    };
    Some((version.parse().ok()?, origin.archive_sha256))
}

/// Refuses a version that one of these registries revoked.
pub(super) fn refuse_revoked(
    registries: &[Registry],
    name: &str,
    version: &Version,
    archive_sha256: Option<&str>,
) -> Result<(), InstallError> {
    let mut all = registries.iter().flat_map(Registry::revocations);
    match all.find(|revoked| revoked.is_about(name, version, archive_sha256)) {
        Some(revoked) => {
            let words = format!("{name} {version} was revoked: {}; install another version", revoked.reason);
            Err(InstallError::new("extension_revoked", words))
        }
        None => Ok(()),
    }
}
