//! From what is asked for to verified packages in a folder of their own, in the order in which they must be installed.

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

/// In the extensions' folder: packages on their way.
const INCOMING_PREFIX: &str = ".incoming-";

/// Hears how far a download is.
pub trait Progress: Send + Sync {
    /// So many of so many bytes of a file are there.
    fn fetched(&self, file: &str, done: u64, total: u64);
}

impl Progress for () {
    fn fetched(&self, _file: &str, _done: u64, _total: u64) {}
}

/// What is to be installed.
#[derive(Debug, Clone, Default)]
pub struct InstallRequest {
    /// The extensions.
    pub specs: Vec<PackageSpec>,
    /// Whether newer versions are taken where one that will do is installed.
    pub upgrade: bool,
    /// Whether a package may come from another publisher than before.
    pub accept_publisher: bool,
}

/// Packages that are ready to be installed; their folder goes with this.
#[derive(Debug)]
pub struct Prepared {
    /// In this order: what is needed comes before what needs it.
    pub steps: Vec<Step>,
    _folder: TempDir,
}

/// A package that is ready to be installed.
#[derive(Debug)]
pub struct Step {
    /// It, unpacked and verified.
    pub package: Package,
    /// Where it came from.
    pub origin: Origin,
    /// The version that is installed now.
    pub from: Option<Version>,
    /// Who needs it, as `webhooks 2.0.0`; empty where it was asked for alone.
    pub needed_by: Vec<String>,
}

impl Step {
    /// What would be installed, for programs.
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

/// A package that was given rather than found.
struct LocalPackage {
    package: Package,
    target: Option<String>,
    archive_sha256: Option<String>,
}

/// Finds, fetches, verifies and unpacks.
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
    // The same version again, of which the files were given: what is installed may be damaged.
    for again in given {
        let from = again.package.manifest.version.clone();
        let origin = Origin { archive_sha256: again.archive_sha256, ..Origin::default() };
        steps.push(Step { package: again.package, origin, from: Some(from), needed_by: Vec::new() });
    }
    for step in steps.iter().filter(|step| step.origin.registry.is_none()) {
        // The resolver refuses what a registry has; a file may be the same.
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
            // Whoever names an extension that is there, and no version, asks for the newest.
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
