//! The representation of an extension in the administration API.

use serde_json::{Value as Json, json};

use crate::{
    plugins::{lifecycle::ExtensionState, store::Installed},
    registry::{self, RegistrySet},
};

/// Returns an installed extension as JSON. With a registry set, it includes whether there is a newer version.
pub(super) fn answer(extension: &ExtensionState, registry_set: Option<&RegistrySet>) -> Json {
    let Installed { name, version, manifest, origin, .. } = &extension.installed;
    let installed = &extension.installed;
    let mut answer = json!({
        "id": name,
        "name": name,
        "version": version,
        "description": manifest["description"],
        "author": manifest["author"],
        "license": manifest["license"],
        "repo_url": manifest["repo_url"],
        "is_enabled": installed.is_enabled,
        "is_builtin": installed.is_builtin,
        "quarantined_reason": installed.quarantined_reason,
        "capabilities": manifest["capabilities"],
        "dependencies": manifest.get("dependencies").cloned().unwrap_or_else(|| json!({})),
        "settings": manifest["settings"],
        "pages": pages(installed),
        "hash": installed.hash,
        "registry": origin.registry,
        "publisher": origin.publisher,
        "previous_version": installed.previous_version,
        "installed_at": installed.installed_at,
        "updated_at": installed.updated_at,
        "nodes": extension.nodes,
    });
    if let Some(registry_set) = registry_set {
        let newer = registry::newer(registry_set, installed);
        answer["update_available"] = newer.is_some().into();
        answer["latest_version"] = newer.map(|offer| offer.version).into();
    }
    answer
}

/// Returns the admin pages, each with its URL.
fn pages(installed: &Installed) -> Json {
    let Some(pages) = installed.manifest.get("pages").and_then(Json::as_array) else { return json!([]) };
    let with_url = |page: &Json| {
        let mut page = page.clone();
        if let Some(file) = page["file"].as_str() {
            page["url"] = super::super::pages::url(&installed.name, &installed.hash, file).into();
        }
        page
    };
    pages.iter().map(with_url).collect::<Vec<_>>().into()
}
