//! Checks the files of installed extensions against the hashes recorded at installation. Opens no library and
//! changes nothing.

use serde::Serialize;

use super::InstallError;
use crate::{
    config::Config,
    plugins::{Plugins, lock_file::LockFile, package::Package, store::Installed},
};

/// Whether an extension's files are unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The extension's name.
    pub name: String,
    /// The installed version.
    pub version: String,
    /// The recorded hash of its package.
    pub hash: String,
    /// What differs; `None` if nothing does.
    pub problem: Option<String>,
}

/// Checks every file of one extension, or of all in order of installation. Only reads files of this machine.
///
/// # Errors
/// `extension_not_installed`; `lock_file_invalid`; database errors.
pub async fn verify(
    config: &Config,
    plugins: &Plugins,
    name: Option<&str>,
) -> Result<Vec<Verdict>, InstallError> {
    let mut installed = plugins.store().all().await?;
    installed.retain(|one| name.is_none_or(|name| one.name == name));
    if let (Some(name), true) = (name, installed.is_empty()) {
        return Err(InstallError::not_installed(name));
    }
    let (config, folders) = (config.clone(), config.path(&config.extensions.dir));
    let verdicts = tokio::task::spawn_blocking(move || {
        let lock = LockFile::read(&config.dir)?;
        let of = |one: &Installed| verdict(&lock, one, &folders.join(&one.name).join(one.folder_name()));
        Ok(installed.iter().map(of).collect())
    });
    verdicts.await.map_err(|error| InstallError::lost(&error))?
}

fn verdict(lock: &LockFile, installed: &Installed, folder: &std::path::Path) -> Verdict {
    let problem = match Package::read(folder) {
        Err(error) => Some(error.to_string()),
        Ok(package) if package.hash != installed.hash => Some("its files were changed".to_owned()),
        Ok(_) => match lock.extensions.get(&installed.name) {
            Some(locked) if locked.hash != installed.hash => {
                Some("tinybase.lock has another hash".to_owned())
            }
            _ => None,
        },
    };
    let Installed { name, version, hash, .. } = installed.clone();
    Verdict { name, version, hash, problem }
}
