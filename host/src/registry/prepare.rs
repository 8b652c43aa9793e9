//! Turns an installation request into verified packages in a folder of their own, in the order in which they
//! must be installed.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use semver::{Version, VersionReq};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tinybase_package::{archive, unpacked::Package};
use tinybase_registry::{
    Entry, Registry,
    resolver::{self, Local, Request, Wanted},
};

use super::{
    InstallError, PackageSpec,
    download::download,
    resolver_input::{exactly, resolver_input},
    revoked::refuse_revoked,
    sources,
};
use crate::{
    config::Config,
    plugins::{Plugins, lifecycle::Origin, store::Installed},
};

/// The name prefix of the folders for incoming packages, in the extensions' folder.
const INCOMING_PREFIX: &str = ".incoming-";

/// Is notified of the progress of a download.
pub trait Progress: Send + Sync {
    /// Called when `done` of `total` bytes of a file were downloaded.
    fn fetched(&self, file: &str, done: u64, total: u64);
}

impl Progress for () {
    fn fetched(&self, _file: &str, _done: u64, _total: u64) {}
}

/// A request to install packages.
#[derive(Debug, Clone, Default)]
pub struct InstallRequest {
    /// The requested packages.
    pub specs: Vec<PackageSpec>,
    /// Whether to upgrade even if an accepted version is already installed.
    pub upgrade: bool,
    /// Whether a package may come from a different publisher than before.
    pub accept_publisher: bool,
}

/// Packages that are ready to be installed. Dropping this deletes their folder.
#[derive(Debug)]
pub struct Prepared {
    /// The packages in order: dependencies first.
    pub steps: Vec<Step>,
    _folder: TempDir,
}

/// A package that is ready to be installed.
#[derive(Debug)]
pub struct Step {
    /// The package, unpacked and verified.
    pub package: Package,
    /// The origin of the package.
    pub origin: Origin,
    /// The installed version.
    pub from: Option<Version>,
    /// The extensions that need it, as in `webhooks 2.0.0`; empty if it was only requested itself.
    pub needed_by: Vec<String>,
}

impl Step {
    /// Describes what would be installed, for programs.
    pub fn described(&self) -> Json {
        let manifest = &self.package.manifest;
        json!({
            "name": manifest.name,
            "version": manifest.version,
            "from_version": self.from,
            "registry": self.origin.registry,
            "publisher": self.origin.publisher,
            "needed_by": self.needed_by,
            "capabilities": manifest.capabilities,
            "routes": manifest.routes,
            "offers": manifest.offers,
            "uses": manifest.uses,
        })
    }
}

/// A package given as a file, folder or URL.
struct LocalPackage {
    package: Package,
    target: Option<String>,
    archive_sha256: Option<String>,
}

/// Finds, downloads, verifies and unpacks the requested packages.
///
/// # Errors
/// [`InstallError`]; nothing is left behind.
pub async fn prepare(
    config: &Config,
    plugins: &Plugins,
    request: &InstallRequest,
    progress: &dyn Progress,
) -> Result<Prepared, InstallError> {
    let folder = incoming(config)?;
    let mut given = Vec::new();
    for (at, spec) in request.specs.iter().enumerate() {
        let into = folder.path().join(format!("given-{at}"));
        match spec {
            PackageSpec::Path(path) => given.push(take(config, path, into).await?),
            PackageSpec::Url(url) => {
                let file = download(config, url, folder.path(), progress).await?;
                given.push(take(config, &file, into).await?);
            }
            PackageSpec::Named { .. } => {}
        }
    }
    let installed = plugins.store().all().await?;
    let registries = sources::open(config).await.whole()?;
    let plan = resolver::resolve(
        &resolver_request(request, &given, &installed),
        &resolver_input(config, &installed, &registries)?,
    )?;
    let mut steps = Vec::new();
    for step in plan.steps {
        let (package, origin) = match step.origin {
            resolver::Origin::Local => of_given(&mut given, &step.name)?,
            resolver::Origin::Registry(entry) => {
                let registry = registries.iter().find(|registry| registry.name() == entry.registry);
                let registry = registry.expect("a plan names registries that it was made of");
                fetch(config, registry, &entry, folder.path(), progress).await?
            }
        };
        steps.push(Step { package, origin, from: step.from, needed_by: step.needed_by });
    }
    // A given package of the installed version is installed again, since the installed files may be damaged.
    for again in given {
        let from = again.package.manifest.version.clone();
        let origin = Origin { archive_sha256: again.archive_sha256, ..Origin::default() };
        steps.push(Step { package: again.package, origin, from: Some(from), needed_by: Vec::new() });
    }
    for step in steps.iter().filter(|step| step.origin.registry.is_none()) {
        // The resolver refuses revoked versions from registries; a given file may be one of them.
        let (manifest, sha256) = (&step.package.manifest, step.origin.archive_sha256.as_deref());
        refuse_revoked(&registries, &manifest.name, &manifest.version, sha256)?;
    }
    Ok(Prepared { steps, _folder: folder })
}

fn incoming(config: &Config) -> Result<TempDir, InstallError> {
    let parent = &config.extensions.dir;
    let made = std::fs::create_dir_all(parent)
        .and_then(|()| tempfile::Builder::new().prefix(INCOMING_PREFIX).tempdir_in(parent));
    made.map_err(InstallError::file(parent))
}

fn resolver_request(request: &InstallRequest, given: &[LocalPackage], installed: &[Installed]) -> Request {
    let given = given.iter().map(|given| {
        let manifest = &given.package.manifest;
        let local = Local {
            version: manifest.version.clone(),
            dependencies: manifest.dependencies.clone(),
            abi: manifest.abi,
            host: manifest.host.clone(),
            target: given.target.clone(),
        };
        let requirement = exactly(&manifest.version);
        Wanted { name: manifest.name.clone(), requirement, upgrade: true, local: Some(local) }
    });
    let named = request.specs.iter().filter_map(|spec| match spec {
        PackageSpec::Named { name, requirement } => {
            // A request for an installed extension without a version means the newest version.
            let upgrade = request.upgrade || *requirement == VersionReq::STAR;
            Some(Wanted { name: name.clone(), requirement: requirement.clone(), upgrade, local: None })
        }
        _ => None,
    });
    let wanted: Vec<Wanted> = given.chain(named).collect();
    let accepted = || {
        wanted.iter().map(|wanted| wanted.name.clone()).chain(installed.iter().map(|one| one.name.clone()))
    };
    let accepted_publishers = if request.accept_publisher { accepted().collect() } else { BTreeSet::new() };
    Request { wanted, accepted_publishers }
}

/// Reads an unpacked folder, or unpacks a file.
async fn take(config: &Config, path: &Path, into: PathBuf) -> Result<LocalPackage, InstallError> {
    let (path, limits) = (path.to_owned(), limits(config));
    let taken = tokio::task::spawn_blocking(move || {
        if path.is_dir() {
            return Ok(LocalPackage { package: Package::read(&path)?, target: None, archive_sha256: None });
        }
        let unpacked = archive::unpack(&path, &into, &limits)?;
        archive::check_target(&unpacked.target)?;
        let package = Package::read(&into)?;
        Ok(LocalPackage {
            package,
            target: Some(unpacked.target),
            archive_sha256: Some(unpacked.archive_sha256),
        })
    });
    taken.await.map_err(|error| InstallError::lost(&error))?
}

fn of_given(given: &mut Vec<LocalPackage>, name: &str) -> Result<(Package, Origin), InstallError> {
    let at = given.iter().position(|given| given.package.manifest.name == name);
    let given = given.remove(at.expect("what a plan takes from here was given"));
    Ok((given.package, Origin { archive_sha256: given.archive_sha256, ..Origin::default() }))
}

async fn fetch(
    config: &Config,
    registry: &Registry,
    entry: &Entry,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<(Package, Origin), InstallError> {
    let file_name = entry.listing.file_name();
    let file =
        registry.fetch(entry, folder, &|done, total| progress.fetched(&file_name, done, total)).await?;
    let (into, limits, checked) = (folder.join(&entry.listing.name), limits(config), entry.clone());
    let unpacked = tokio::task::spawn_blocking(move || {
        let unpacked = archive::unpack(&file, &into, &limits)?;
        checked.check(&unpacked)?;
        archive::check_target(&unpacked.target)?;
        Ok::<_, InstallError>(Package::read(&into)?)
    });
    let package = unpacked.await.map_err(|error| InstallError::lost(&error))??;
    let origin = Origin {
        registry: Some(entry.registry.clone()),
        publisher: Some(entry.publisher.name.clone()),
        publisher_keys: entry.publisher.keys.clone(),
        archive_sha256: Some(entry.archive.sha256.clone()),
    };
    Ok((package, origin))
}

fn limits(config: &Config) -> archive::Limits {
    let unpacked_bytes_max = config.extensions.unpacked_bytes_max;
    archive::Limits { unpacked_bytes_max, file_bytes_max: unpacked_bytes_max, ..archive::Limits::default() }
}
