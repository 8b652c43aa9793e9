//! The files of what is installed, held against the hash that was noted when it was installed. It opens no library, and changes
//! nothing.

use serde::Serialize;

use super::InstallError;
use crate::{
    config::Config,
    plugins::{Plugins, lock_file::LockFile, package::Package, store::Installed},
};

/// Whether an extension is as it was installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The extension.
    pub name: String,
    /// The version that is installed.
    pub version: String,
    /// The hash of its package, as it was noted.
    pub hash: String,
    /// What differs; `None` where nothing does.
    pub problem: Option<String>,
}

/// Every file of one extension, or of all, in the order of installation. What is read is this machine's alone.
///
/// # Errors
/// `extension_not_installed`; `lock_file_invalid`; what the database answers.
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
