//! The possible changes of extensions, their results, and the errors for refused changes. Never changes
//! anything itself.

use std::borrow::Cow;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    db::{DbError, migrations::MigrateError},
    plugins::{LoadError, dependencies::DependencyError, package::Package},
};

/// The origin of a package. It is recorded with the extension and in `tinybase.lock`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The configured name of the registry; `None` if it was installed from a file or folder.
    #[serde(default)]
    pub registry: Option<String>,
    /// The publisher in that registry.
    #[serde(default)]
    pub publisher: Option<String>,
    /// The ids of the keys that it was signed with.
    #[serde(default)]
    pub publisher_keys: Vec<String>,
    /// SHA-256 of the packed file, in hex.
    #[serde(default)]
    pub archive_sha256: Option<String>,
}

/// One change of what is installed or enabled.
#[derive(Debug, Clone)]
pub enum Change {
    /// Installs a package and enables it. An extension installed under its name is changed to this version.
    Install {
        /// The unpacked package in any folder. It is copied and checked against its hash once more.
        package: Package,
        /// The origin of the package.
        origin: Origin,
    },
    /// Changes an installed extension to another version. It stays enabled or disabled.
    Update {
        /// The unpacked package.
        package: Package,
        /// The origin of the package.
        origin: Origin,
    },
    /// Enables an extension and ends its quarantine.
    Enable {
        /// The extension's name.
        name: String,
    },
    /// Disables an extension. Its data is kept.
    Disable {
        /// The extension's name.
        name: String,
        /// The revoked version, if that is the reason. Extensions that need it do not prevent the change
        /// then: they stay enabled, but are not loaded until it is enabled again. If another version has been
        /// installed in the meantime, it is kept.
        revoked: Option<String>,
    },
    /// Removes an extension.
    Uninstall {
        /// The extension's name.
        name: String,
        /// Whether its tables, settings and files are deleted too.
        purge: bool,
    },
    /// Restores the previous version of an extension.
    Rollback {
        /// The extension's name.
        name: String,
    },
}

impl Change {
    /// Returns the name of the changed extension.
    pub fn name(&self) -> &str {
        match self {
            Change::Install { package, .. } | Change::Update { package, .. } => &package.manifest.name,
            Change::Enable { name }
            | Change::Disable { name, .. }
            | Change::Uninstall { name, .. }
            | Change::Rollback { name } => name,
        }
    }
}

/// The kind of a change, as stored in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A first installation.
    Install,
    /// A change to another version.
    Update,
    /// The extension is enabled.
    Enable,
    /// The extension is disabled.
    Disable,
    /// The extension is removed.
    Uninstall,
    /// The previous version is restored.
    Rollback,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] =
        [Kind::Install, Kind::Update, Kind::Enable, Kind::Disable, Kind::Uninstall, Kind::Rollback];

    /// Returns its name, as it is stored and sent to clients.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Install => "install",
            Kind::Update => "update",
            Kind::Enable => "enable",
            Kind::Disable => "disable",
            Kind::Uninstall => "uninstall",
            Kind::Rollback => "rollback",
        }
    }

    /// Returns the action for the audit log.
    pub(super) fn action(self) -> &'static str {
        match self {
            Kind::Install => "extension.install",
            Kind::Update => "extension.update",
            Kind::Enable => "extension.enable",
            Kind::Disable => "extension.disable",
            Kind::Uninstall => "extension.uninstall",
            Kind::Rollback => "extension.rollback",
        }
    }
}

/// A change that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Its id in the journal.
    pub id: String,
    /// The kind of change.
    pub kind: Kind,
    /// The extension.
    pub name: String,
    /// The previous version; `None` if there was none.
    pub from_version: Option<String>,
    /// The current version; `None` if it was removed.
    pub to_version: Option<String>,
}

/// Why a change was not carried out. What ran before keeps running.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ChangeError {
    /// A stable code in snake_case.
    pub code: Cow<'static, str>,
    /// What happened, and what to do about it.
    pub message: String,
}

impl ChangeError {
    /// Creates an error with a code of the lifecycle.
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> ChangeError {
        ChangeError { code: Cow::Borrowed(code), message: message.into() }
    }

    pub(super) fn not_installed(name: &str) -> ChangeError {
        ChangeError::new("extension_not_installed", format!("the extension {name:?} is not installed"))
    }

    /// Returns the HTTP status for a response with this error.
    pub fn status(&self) -> StatusCode {
        match &*self.code {
            "extension_not_installed" => StatusCode::NOT_FOUND,
            "precondition_failed" => StatusCode::PRECONDITION_FAILED,
            "change_in_progress"
            | "extension_changed"
            | "extension_needed"
            | "dependency_conflict"
            | "version_same"
            | "no_previous_version" => StatusCode::CONFLICT,
            "change_timeout" | "server_silent" | "nodes_not_ready" => StatusCode::SERVICE_UNAVAILABLE,
            "file_failed" | "host_panicked" | "change_interrupted" => StatusCode::INTERNAL_SERVER_ERROR,
            code if code.starts_with("db_") => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<LoadError> for ChangeError {
    fn from(error: LoadError) -> ChangeError {
        ChangeError { code: Cow::Owned(error.code().to_owned()), message: error.to_string() }
    }
}

impl From<DependencyError> for ChangeError {
    fn from(error: DependencyError) -> ChangeError {
        LoadError::from(error).into()
    }
}

impl From<DbError> for ChangeError {
    fn from(error: DbError) -> ChangeError {
        LoadError::from(error).into()
    }
}

impl From<MigrateError> for ChangeError {
    fn from(error: MigrateError) -> ChangeError {
        LoadError::from(error).into()
    }
}
