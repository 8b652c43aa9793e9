//! `tinybase extensions list` and `info`: shows what is installed, and its state.

use serde_json::json;

use super::{Failure, output};
use crate::plugins::{
    lifecycle::{ExtensionState, NodeState},
    manifest::Manifest,
    store::Installed,
};

/// Returns what a manifest requests, one line each.
pub(super) fn may_use(manifest: &Manifest) -> Vec<[String; 2]> {
    let lines = |what: &str, of: Vec<String>| {
        let what = format!("  {what}");
        of.into_iter().map(move |item| [what.clone(), item])
    };
    let uses = manifest.uses.iter().cloned().map(String::from).collect();
    let offers = manifest.offers.iter().cloned().map(String::from).collect();
    let commands =
        manifest.commands.iter().map(|command| format!("{} {}", manifest.name, command.name)).collect();
    let depends = manifest.dependencies.iter().map(|(name, requirement)| format!("{name} {requirement}"));
    let pages = manifest.pages.iter().map(|page| format!("{} (tier {})", page.title, page.tier));
    lines("capability", manifest.capabilities.clone())
        .chain(lines("routes below", manifest.routes.clone()))
        .chain(lines("service of others", uses))
        .chain(lines("offers service", offers))
        .chain(lines("depends on", depends.collect()))
        .chain(lines("command", commands))
        .chain(lines("admin page", pages.collect()))
        .collect()
}

/// Returns `enabled`, `disabled`, `quarantined`, or `failed` if a node could not activate it.
fn state(extension: &ExtensionState) -> &'static str {
    let Installed { is_enabled, quarantined_reason, .. } = &extension.installed;
    match (is_enabled, quarantined_reason) {
        (false, _) => "disabled",
        (true, Some(_)) => "quarantined",
        (true, None) if extension.nodes.iter().any(|node| node.state == "failed") => "failed",
        (true, None) => "enabled",
    }
}

fn why(extension: &ExtensionState) -> String {
    let told = |node: &NodeState| Some(format!("on {}: {}", node.node_name, node.message.as_ref()?));
    let failed = extension.nodes.iter().find(|node| node.state == "failed");
    let told = failed.and_then(told).or_else(|| extension.nodes.iter().find_map(told));
    extension.installed.quarantined_reason.clone().or(told).unwrap_or_default()
}

pub(super) fn list(all: &[ExtensionState], as_json: bool) -> Result<(), Failure> {
    if as_json {
        return output::json(&all.iter().map(describe).collect::<Vec<_>>());
    }
    let rows = all.iter().map(|extension| {
        let installed = &extension.installed;
        let origin = match (&installed.origin.registry, installed.is_builtin) {
            (_, true) => "built in".to_owned(),
            (Some(registry), _) => format!("from {registry}"),
            (None, _) => "from a file".to_owned(),
        };
        [
            installed.name.clone(),
            installed.version.clone(),
            state(extension).to_owned(),
            origin,
            why(extension),
        ]
    });
    output::table(&rows.collect::<Vec<_>>())
}

fn describe(extension: &ExtensionState) -> serde_json::Value {
    let installed = &extension.installed;
    json!({
        "name": installed.name,
        "version": installed.version,
        "state": state(extension),
        "quarantined_reason": installed.quarantined_reason,
        "is_builtin": installed.is_builtin,
        "hash": installed.hash,
        "registry": installed.origin.registry,
        "publisher": installed.origin.publisher,
        "previous_version": installed.previous_version,
        "installed_at": installed.installed_at,
        "updated_at": installed.updated_at,
        "nodes": extension.nodes,
        "manifest": installed.manifest,
    })
}

pub(super) fn info(all: &[ExtensionState], name: &str, as_json: bool) -> Result<(), Failure> {
    let extension = all.iter().find(|extension| extension.installed.name == name).ok_or_else(|| {
        Failure::new(format!("the extension {name:?} is not installed; see: tinybase extensions list"))
    })?;
    if as_json {
        return output::json(&describe(extension));
    }
    let installed = &extension.installed;
    let manifest: Manifest = serde_json::from_value(installed.manifest.clone())?;
    let told = [
        ("name", manifest.name.clone()),
        ("version", manifest.version.to_string()),
        ("state", state(extension).to_owned()),
        ("why", why(extension)),
        ("description", manifest.description.clone()),
        ("author", manifest.author.clone()),
        ("licence", manifest.license.clone()),
        ("source", manifest.repo_url.clone()),
        ("registry", installed.origin.registry.clone().unwrap_or_default()),
        ("publisher", installed.origin.publisher.clone().unwrap_or_default()),
        ("hash", installed.hash.clone()),
        ("version before", installed.previous_version.clone().unwrap_or_default()),
        ("installed", installed.installed_at.clone()),
    ];
    let told = told.into_iter().filter(|(_, text)| !text.is_empty());
    let mut rows: Vec<[String; 2]> = told.map(|(key, text)| [key.to_owned(), text]).collect();
    rows.push(["may use".to_owned(), String::new()]);
    rows.extend(may_use(&manifest));
    output::table(&rows)
}
