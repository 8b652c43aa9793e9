//! `tinybase extensions verify`: every file of what is installed, held against the hash that was noted when it was installed.

use serde::Serialize;

use super::{Failure, Site, output};
use crate::plugins::{lock_file::LockFile, package::Package, store::Installed};

#[derive(Debug, Serialize)]
struct Verdict {
    name: String,
    version: String,
    hash: String,
    problem: Option<String>,
}

pub(super) async fn run(site: &Site<'_>, name: Option<&str>, as_json: bool) -> Result<(), Failure> {
    let installed = site.installed().await?;
    let lock = LockFile::read(&site.config.dir)?;
    let meant = installed.iter().filter(|one| name.is_none_or(|name| one.name == name));
    let verdicts: Vec<Verdict> = meant.map(|one| verdict(site, &lock, one)).collect();
    if let (Some(name), []) = (name, verdicts.as_slice()) {
        return Err(Failure::new(format!(
            "the extension {name:?} is not installed; see: tinybase extensions list"
        )));
    }
    if as_json {
        output::json(&verdicts)?;
    } else {
        let row = |verdict: &Verdict| {
            let problem = verdict.problem.clone().unwrap_or_else(|| "as installed".to_owned());
            [
                verdict.name.clone(),
                verdict.version.clone(),
                verdict.hash[..16.min(verdict.hash.len())].to_owned(),
                problem,
            ]
        };
        output::table(&verdicts.iter().map(row).collect::<Vec<_>>())?;
    }
    match verdicts.iter().filter(|verdict| verdict.problem.is_some()).count() {
        0 => Ok(()),
        count => Err(Failure::new(format!(
            "{count} extension(s) are not as they were installed; install them anew"
        ))),
    }
}

fn verdict(site: &Site<'_>, lock: &LockFile, installed: &Installed) -> Verdict {
    let problem = match Package::read(&site.folder(installed)) {
        Err(error) => Some(error.to_string()),
        Ok(package) if package.hash != installed.hash => Some("its files were changed".to_owned()),
        Ok(_) => match lock.extensions.get(&installed.name) {
            Some(locked) if locked.hash != installed.hash => {
                Some("tinybase.lock has another hash".to_owned())
            }
            _ => None,
        },
    };
    Verdict {
        name: installed.name.clone(),
        version: installed.version.clone(),
        hash: installed.hash.clone(),
        problem,
    }
}
