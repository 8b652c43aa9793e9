//! `tinybase extensions search`, `check-updates` and `audit`: shows what the registries offer, and compares it with
//! what is installed.

use super::{CommandContext, Failure, output};
use crate::{
    audit::Actor,
    plugins::lifecycle::Change,
    registry::{self, AvailableVersion, Finding, RegistrySet},
};

/// Opens the registries; warns of each that cannot be opened, and goes on without it.
async fn registries(site: &CommandContext<'_>) -> RegistrySet {
    let registry_set = registry::open(site.config).await;
    for failure in &registry_set.failures {
        eprintln!("warning: {failure}");
    }
    registry_set
}

pub(super) async fn search(site: &CommandContext<'_>, text: &str, as_json: bool) -> Result<(), Failure> {
    let found = registry::search(&registries(site).await, &site.installed().await?, text);
    if as_json {
        return output::json(&found);
    }
    if found.is_empty() {
        // On stderr: stdout is for results.
        eprintln!("nothing found");
        return Ok(());
    }
    let row = |offer: &AvailableVersion| {
        let installed = offer.installed.as_ref().map(|version| format!("installed {version}"));
        [
            offer.name.clone(),
            offer.version.clone(),
            format!("{}/{}", offer.registry, offer.publisher),
            installed.unwrap_or_default(),
            offer.description.clone(),
        ]
    };
    output::table(&found.iter().map(row).collect::<Vec<_>>())
}

pub(super) async fn check_updates(site: &CommandContext<'_>, as_json: bool) -> Result<(), Failure> {
    let (registry_set, installed) = (registries(site).await, site.installed().await?);
    let newer: Vec<AvailableVersion> =
        installed.iter().filter_map(|one| registry::newer(&registry_set, one)).collect();
    if as_json {
        return output::json(&newer);
    }
    if newer.is_empty() {
        return output::line("everything is up to date");
    }
    let row = |offer: &AvailableVersion| {
        [
            offer.name.clone(),
            offer.installed.clone().unwrap_or_default(),
            "→".to_owned(),
            offer.version.clone(),
        ]
    };
    output::table(&newer.iter().map(row).collect::<Vec<_>>())
}

pub(super) async fn audit(
    site: &CommandContext<'_>,
    disable_revoked: bool,
    as_json: bool,
) -> Result<(), Failure> {
    let (registry_set, installed) = (registries(site).await, site.installed().await?);
    let findings = registry::audit(&registry_set, &installed);
    if as_json {
        output::json(&findings)?;
    } else {
        let row = |finding: &Finding| {
            [finding.name.clone(), finding.version.clone(), finding.kind.to_owned(), finding.message.clone()]
        };
        output::table(&findings.iter().map(row).collect::<Vec<_>>())?;
    }
    if disable_revoked {
        for finding in registry::revoked(&findings, &installed) {
            let (name, revoked) = (finding.name.clone(), Some(finding.version.clone()));
            let change = Change::Disable { name, revoked };
            let changed = site.plugins.change(change, &Actor::command()).await?;
            if !as_json {
                output::line(super::told(&changed))?;
            }
        }
    }
    // A disabled extension does not run, whatever the finding.
    let left = site.installed().await?;
    let runs = |finding: &&Finding| left.iter().any(|one| one.name == finding.name && one.is_enabled);
    match findings.iter().filter(|finding| finding.is_grave()).filter(runs).count() {
        0 => Ok(()),
        count => Err(Failure::new(format!("{count} extension(s) need action: see above"))),
    }
}
