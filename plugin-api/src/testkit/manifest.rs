//! The parts of an extension's manifest that the test host reads. It checks no more than a test needs: the server
//! parses the file strictly.

use std::{fs, path::Path};

use serde::Deserialize;
use serde_json::{Map, Value as Json};

/// Interfaces that every extension is granted.
const ALWAYS_GRANTED: [&str; 4] = ["limits", "log", "timers", "console"];

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Manifest {
    pub(super) name: String,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    pub(super) routes: Vec<String>,
    #[serde(default)]
    pub(super) offers: Vec<String>,
    #[serde(default)]
    uses: Vec<String>,
    #[serde(default)]
    settings: Json,
    #[serde(default)]
    pub(super) commands: Vec<Command>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Command {
    pub(super) name: String,
    #[serde(default)]
    pub(super) arguments: Vec<Argument>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Argument {
    pub(super) name: String,
    #[serde(default)]
    pub(super) required: bool,
    pub(super) default: Option<String>,
    #[serde(default)]
    pub(super) values: Vec<String>,
}

impl Manifest {
    /// Reads `extension.toml` from `folder`.
    pub(super) fn read(folder: &Path) -> Result<Manifest, String> {
        let path = folder.join("extension.toml");
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    pub(super) fn grants(&self, interface: &str) -> bool {
        ALWAYS_GRANTED.contains(&interface) || self.capabilities.iter().any(|granted| granted == interface)
    }

    pub(super) fn may_call(&self, service: &str) -> bool {
        self.uses.iter().any(|used| used == service)
    }

    /// Returns the defaults of the settings.
    pub(super) fn default_settings(&self) -> Map<String, Json> {
        let properties = self.settings.get("properties").and_then(Json::as_object);
        let defaults = properties.into_iter().flatten().filter_map(|(name, schema)| {
            let default = schema.get("default")?;
            Some((name.clone(), default.clone()))
        });
        defaults.collect()
    }

    /// Returns whether there is a setting with this name.
    pub(super) fn has_setting(&self, name: &str) -> bool {
        self.settings.get("properties").is_some_and(|properties| properties.get(name).is_some())
    }
}
