//! An extension's manifest, `extension.toml`. It is parsed strictly, and every error names its cause. It never
//! reads a library.

use std::{collections::BTreeMap, path::Path};

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use thiserror::Error;

use crate::boundary::{host_prefix, host_tree, is_name};

/// The manifest's file name.
pub const FILE_NAME: &str = "extension.toml";
/// The maximum size of a manifest, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 256 << 10;
/// Names that would conflict with the host's own tables, commands and audit log actions.
const RESERVED_NAMES: &[&str] = &[
    "application_token",
    "extension",
    "key",
    "mfa",
    "session",
    "settings",
    "user",
    "tinybase",
    "host",
    "version",
    "init",
    "serve",
    // A path in the administration, next to those of extensions.
    "verify",
    "admin",
    "db",
    "extensions",
    "completions",
    "keys",
    "help",
    // Commands that the host may get later. An extension with such a name would hide them or be hidden.
    "backup",
    "cluster",
    "config",
    "console",
    "copy",
    "daemon",
    "dev",
    "doctor",
    "export",
    "import",
    "logs",
    "metrics",
    "migrate",
    "node",
    "nodes",
    "plugin",
    "plugins",
    "registry",
    "registries",
    "restart",
    "restore",
    "run",
    "self",
    "service",
    "setup",
    "shell",
    "start",
    "status",
    "stop",
    "token",
    "tokens",
    "update",
    "upgrade",
    "users",
];
/// Interfaces that a manifest may declare as capabilities.
pub const CAPABILITIES: &[&str] =
    &["audit", "database", "events", "http", "identity", "services", "sessions", "settings", "storage"];
/// Interfaces that every extension is granted.
pub const ALWAYS_GRANTED: &[&str] = &["limits", "log", "timers", "console"];

/// The manifest of an extension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The extension's name, which is the prefix of its tables.
    pub name: String,
    /// The extension's version.
    pub version: Version,
    /// A short description.
    #[serde(default)]
    pub description: String,
    /// The author.
    #[serde(default)]
    pub author: String,
    /// The licence.
    #[serde(default)]
    pub license: String,
    /// The URL of the source code.
    #[serde(default)]
    pub repo_url: String,
    /// The ABI major it was built for.
    pub abi: u16,
    /// The versions of the host it is compatible with.
    #[serde(default = "any_version")]
    pub host: VersionReq,
    /// The name of its library without `lib` and the file extension; `tinybase_<name>` by default.
    #[serde(default)]
    pub library: Option<String>,
    /// The host's interfaces that it uses.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Path prefixes for its routes.
    #[serde(default)]
    pub routes: Vec<String>,
    /// Services that it offers, as `name@major`.
    #[serde(default)]
    pub offers: Vec<ServiceName>,
    /// Services of other extensions that it calls.
    #[serde(default)]
    pub uses: Vec<ServiceName>,
    /// A JSON Schema of its settings: an object with defaults.
    #[serde(default)]
    pub settings: Json,
    /// Its commands for the command line.
    #[serde(default)]
    pub commands: Vec<Command>,
    /// Extensions that must be enabled as well, each with the compatible versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<String, VersionReq>,
    /// Its pages in the admin UI.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pages: Vec<Page>,
}

fn any_version() -> VersionReq {
    VersionReq::STAR
}

/// A service and its major: `mail@1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName {
    /// The service.
    pub name: String,
    /// The service's major.
    pub major: u16,
}

impl TryFrom<String> for ServiceName {
    type Error = String;

    fn try_from(text: String) -> Result<ServiceName, String> {
        let parsed = text.split_once('@').and_then(|(name, major)| Some((name, major.parse().ok()?)));
        match parsed {
            Some((name, major)) if is_word(name) => Ok(ServiceName { name: name.to_owned(), major }),
            _ => Err(format!("a service is written as name@major, such as mail@1, not {text:?}")),
        }
    }
}

impl From<ServiceName> for String {
    fn from(service: ServiceName) -> String {
        format!("{}@{}", service.name, service.major)
    }
}

/// A page in the admin UI.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// The page's name, the last part of its address.
    pub name: String,
    /// The page's title in the navigation.
    pub title: String,
    /// How the page is drawn: 0 by the admin UI from `layout`, 1 by the module `file` in the admin UI's own document, 2
    /// by the document `file` in a sandboxed frame.
    pub tier: u8,
    /// The layout that the admin UI draws: an object with `settings`, `tables` and `actions`.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub layout: Json,
    /// The file in `pages/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The custom element that the module of a tier 1 page defines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<String>,
}

impl Page {
    /// Returns the error in the page, if there is one.
    fn problem(&self) -> Option<String> {
        let name = &self.name;
        if !is_option(name) {
            return Some(format!("{name:?} is not [a-z][a-z0-9-]*"));
        }
        match (self.tier, self.layout.is_object(), self.file.as_deref(), self.element.as_deref()) {
            (0, true, None, None) => None,
            (0, ..) => {
                Some(format!("{name:?} is of tier 0, which has a `layout`, no `file` and no `element`"))
            }
            (1, false, Some(file), Some(element)) if is_script(file) && element.contains('-') => None,
            (1, ..) => Some(format!(
                "{name:?} is of tier 1, which has a `file` that ends in .js or .mjs, and an `element` with a hyphen"
            )),
            (2, false, Some(file), None) if file.ends_with(".html") => None,
            (2, ..) => Some(format!("{name:?} is of tier 2, which has a `file` that ends in .html")),
            (tier, ..) => Some(format!("{name:?} is of tier {tier}; there are 0, 1 and 2")),
        }
    }
}

fn is_script(file: &str) -> bool {
    file.ends_with(".js") || file.ends_with(".mjs")
}

/// A command: `tinybase <extension> <name> …`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The command's name.
    pub name: String,
    /// The description for `--help`.
    #[serde(default)]
    pub about: String,
    /// The command's arguments in order.
    #[serde(default)]
    pub arguments: Vec<Argument>,
}

/// An argument of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Argument {
    /// The argument's name; `--name` for options and flags.
    pub name: String,
    /// The argument's kind.
    #[serde(default)]
    pub kind: ArgumentKind,
    /// Whether the argument is required.
    #[serde(default)]
    pub required: bool,
    /// The description for `--help`.
    #[serde(default)]
    pub help: String,
    /// The value if the argument is not given.
    #[serde(default)]
    pub default: Option<String>,
    /// The only values allowed; empty allows any.
    #[serde(default)]
    pub values: Vec<String>,
}

/// The kind of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArgumentKind {
    /// Identified by its position.
    Positional,
    /// `--name VALUE`.
    #[default]
    Option,
    /// `--name`.
    Flag,
}

/// The reason why a manifest was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("{path}: {problem}")]
    Read {
        /// The file.
        path: String,
        /// The cause.
        problem: String,
    },
    /// It is not TOML, lacks a field, or has an unknown one.
    #[error("extension.toml: {0}")]
    Form(String),
    /// A field's value is not allowed.
    #[error("extension.toml: {field}: {problem}")]
    Value {
        /// The field.
        field: &'static str,
        /// The error and the allowed values.
        problem: String,
    },
}

impl Manifest {
    /// Reads the manifest from an extension's folder.
    pub fn read(folder: &Path) -> Result<Manifest, ManifestError> {
        let path = folder.join(FILE_NAME);
        let text = std::fs::read_to_string(&path).map_err(|error| ManifestError::Read {
            path: path.display().to_string(),
            problem: error.to_string(),
        })?;
        Manifest::parse(&text)
    }

    /// Parses and checks a manifest.
    pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
        if text.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::Form(format!("it is larger than {MANIFEST_BYTES_MAX} bytes")));
        }
        let manifest: Manifest =
            toml::from_str(text).map_err(|error| ManifestError::Form(error.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let fault = |field, problem: String| Err(ManifestError::Value { field, problem });
        if !is_name(&self.name) {
            return fault("name", format!("{:?} is not [a-z][a-z0-9_]*, 40 characters at most", self.name));
        }
        if let Some(prefix) = host_prefix(&self.name) {
            let problem = format!(
                "{:?} is reserved: its tables would be among those of the server, which begin with {prefix}_",
                self.name
            );
            return fault("name", problem);
        }
        if is_reserved(&self.name) {
            return fault("name", format!("{:?} is reserved for the host", self.name));
        }
        for capability in &self.capabilities {
            if !CAPABILITIES.contains(&capability.as_str()) {
                let known = CAPABILITIES.join(", ");
                return fault("capabilities", format!("{capability:?} is unknown; there are: {known}"));
            }
        }
        for prefix in &self.routes {
            if !is_path_prefix(prefix) {
                return fault("routes", format!("{prefix:?} is no path prefix such as /api/notes"));
            }
            if let Some(tree) = host_tree(prefix) {
                let problem = format!(
                    "{prefix:?} overlaps {tree}, which belongs to the host: take a path of the extension's own, such as \
                     /api/{}",
                    self.name
                );
                return fault("routes", problem);
            }
        }
        if !self.settings.is_null() && !self.settings.is_object() {
            return fault("settings", "it is a JSON Schema of an object".to_owned());
        }
        for name in self.dependencies.keys() {
            if !is_word(name) || *name == self.name {
                return fault("dependencies", format!("{name:?} is not the name of another extension"));
            }
        }
        self.check_pages()?;
        self.check_commands()
    }

    fn check_pages(&self) -> Result<(), ManifestError> {
        for (position, page) in self.pages.iter().enumerate() {
            let twice = self.pages[..position].iter().any(|other| other.name == page.name);
            let problem =
                if twice { Some(format!("{:?} stands there twice", page.name)) } else { page.problem() };
            if let Some(problem) = problem {
                return Err(ManifestError::Value { field: "pages", problem });
            }
        }
        Ok(())
    }

    fn check_commands(&self) -> Result<(), ManifestError> {
        let fault = |problem: String| Err(ManifestError::Value { field: "commands", problem });
        for (position, command) in self.commands.iter().enumerate() {
            if !is_word(&command.name) {
                return fault(format!("{:?} is not [a-z][a-z0-9_]*", command.name));
            }
            if self.commands[..position].iter().any(|other| other.name == command.name) {
                return fault(format!("{:?} stands there twice", command.name));
            }
            if let Some(argument) = command.arguments.iter().find(|argument| !is_option(&argument.name)) {
                return fault(format!("the argument {:?} is not [a-z][a-z0-9-]*", argument.name));
            }
        }
        Ok(())
    }

    /// Returns the file name of the library.
    pub fn library_file(&self) -> String {
        let stem = self.library.clone().unwrap_or_else(|| format!("tinybase_{}", self.name));
        format!("{}{stem}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
    }

    /// Returns whether the extension may use an interface.
    pub fn grants(&self, interface: &str) -> bool {
        ALWAYS_GRANTED.contains(&interface) || self.capabilities.iter().any(|granted| granted == interface)
    }

    /// Returns whether the extension may register this path.
    pub fn allows_route(&self, path: &str) -> bool {
        self.routes.iter().any(|prefix| is_below(path, prefix))
    }

    /// Returns all route prefixes. The one that contains this route comes first.
    pub fn route_prefixes(&self, path: &str) -> Vec<String> {
        let mut prefixes = self.routes.clone();
        prefixes.sort_by_key(|prefix| !is_below(path, prefix));
        prefixes
    }
}

/// Returns whether a name is reserved for the host.
pub fn is_reserved(name: &str) -> bool {
    RESERVED_NAMES.contains(&name) || host_prefix(name).is_some()
}

/// Returns whether a text is a valid path prefix as clients send it, segment by segment.
fn is_path_prefix(prefix: &str) -> bool {
    let is_plain = |segment: &str| {
        !segment.is_empty()
            && !matches!(segment, "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~@!$&'()*+,=:".contains(&byte))
    };
    prefix.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_plain))
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_word(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn is_option(text: &str) -> bool {
    is_word(&text.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        Manifest::parse(text).expect_err("the manifest is refused").to_string()
    }

    #[test]
    fn a_manifest_is_read_whole() {
        let manifest = Manifest::parse(
            "name = \"audit\"\nversion = \"0.1.0\"\nabi = 1\nhost = \">=0.1.0\"\n\
             capabilities = [\"database\"]\nroutes = [\"/api/audit\"]\noffers = [\"trail@1\"]\n\
             [settings.properties.days]\ntype = \"integer\"\n\
             [[commands]]\nname = \"export\"\n[[commands.arguments]]\nname = \"file\"\nkind = \"positional\"",
        )
        .unwrap();
        assert!(manifest.grants("database") && manifest.grants("log") && !manifest.grants("events"));
        assert!(manifest.allows_route("/api/audit/entries") && !manifest.allows_route("/api/auditor"));
        let with_pages = Manifest { routes: vec!["/pages".into(), "/api/audit".into()], ..manifest.clone() };
        assert_eq!(with_pages.route_prefixes("/api/audit/x"), ["/api/audit", "/pages"]);
        assert_eq!(manifest.offers[0].major, 1);
        assert_eq!(manifest.settings["properties"]["days"]["type"], "integer");
    }

    #[test]
    fn every_fault_is_named() {
        let with = |line: &str| format!("name = \"a\"\nversion = \"0.1.0\"\nabi = 1\n{line}");
        let cases = [
            ("version = \"0.1.0\"\nabi = 1".to_owned(), "missing field `name`"),
            ("name = \"A b\"\nversion = \"0.1.0\"\nabi = 1".to_owned(), "is not [a-z]"),
            ("name = \"tb\"\nversion = \"0.1.0\"\nabi = 1".to_owned(), "reserved"),
            ("name = \"keys\"\nversion = \"0.1.0\"\nabi = 1".to_owned(), "reserved"),
            ("name = \"help\"\nversion = \"0.1.0\"\nabi = 1".to_owned(), "reserved"),
            ("name = \"backup\"\nversion = \"0.1.0\"\nabi = 1".to_owned(), "reserved"),
            ("name = \"tb_application\"\nversion = \"0.1.0\"\nabi = 1".to_owned(), "which begin with tb_"),
            ("name = \"information\"\nversion = \"0.1.0\"\nabi = 1".to_owned(), "information_schema_"),
            ("name = \"user\"\nversion = \"0.1.0\"\nabi = 1".to_owned(), "reserved"),
            (with("capabilities = [\"root\"]"), "\"root\" is unknown"),
            (with("routes = [\"/\"]"), "is no path prefix"),
            (with("routes = [\"/api/a/../auth\"]"), "is no path prefix"),
            (with("routes = [\"/api/%61uth\"]"), "is no path prefix"),
            (with("routes = [\"/api\"]"), "belongs to the host"),
            (with("routes = [\"/api/admin/users\"]"), "belongs to the host"),
            (with("routes = [\"/docs/app.js\"]"), "belongs to the host"),
            (with("offers = [\"mail\"]"), "name@major"),
            (with("colour = 1"), "unknown field `colour`"),
            (with("settings = 3"), "JSON Schema"),
            (with("[dependencies]\na = \"1\""), "name of another extension"),
            (with("[dependencies]\nb = \"one\""), "unexpected character"),
            (with("[[pages]]\nname = \"x\"\ntitle = \"X\"\ntier = 0"), "has a `layout`"),
            (with("[[pages]]\nname = \"x\"\ntitle = \"X\"\ntier = 1\nfile = \"x.css\""), "ends in .js"),
            (with("[[pages]]\nname = \"x\"\ntitle = \"X\"\ntier = 2\nfile = \"x.js\""), "ends in .html"),
            (with("[[pages]]\nname = \"x\"\ntitle = \"X\"\ntier = 3"), "there are 0, 1 and 2"),
            (with("[[commands]]\nname = \"x\"\n[[commands]]\nname = \"x\""), "twice"),
        ];
        for (text, expected) in cases {
            let problem = problem(&text);
            assert!(problem.contains(expected), "{problem:?} does not say {expected:?}");
        }
    }
}
