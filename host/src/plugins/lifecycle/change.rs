//! What may be changed of extensions, what a change came to, and why one was refused. It changes nothing.

use std::borrow::Cow;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    db::{DbError, migrations::MigrateError},
    plugins::{LoadError, dependencies::DependencyError, package::Package},
};

/// Where a package came from. All of it is noted beside the extension and in `tinybase.lock`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The registry, as it is configured; `None` where it was installed from a file or folder.
    #[serde(default)]
    pub registry: Option<String>,
    /// Who published it there.
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
    /// Installs a package and enables it. What is installed under its name is brought to this version.
    Install {
        /// The unpacked package, wherever it lies; it is copied and held against its hash once more.
        package: Package,
        /// Where it came from.
        origin: Origin,
    },
    /// Brings an installed extension to another version; it stays enabled or disabled as it is.
    Update {
        /// The unpacked package.
        package: Package,
        /// Where it came from.
        origin: Origin,
    },
    /// Enables an extension; a quarantine ends.
    Enable {
        /// Which.
        name: String,
    },
    /// Disables an extension; its data stay.
    Disable {
        /// Which.
        name: String,
        /// The version of it that was revoked, where that is why. Those that need it are no obstacle then: they stay enabled,
        /// and are left out until it is enabled again. Another version, which somebody has installed meanwhile, stays.
        revoked: Option<String>,
    },
    /// Takes an extension away.
    Uninstall {
        /// Which.
        name: String,
        /// Whether its tables, settings and files go too.
        purge: bool,
    },
    /// Brings an extension back to the version that it had before.
    Rollback {
        /// Which.
        name: String,
    },
}

impl Change {
    /// The extension that is changed.
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

/// The kind of a change, as the journal has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A first installation.
    Install,
    /// Another version of what is installed.
    Update,
    /// It is loaded from now on.
    Enable,
    /// It is loaded no more.
    Disable,
    /// It is taken away.
    Uninstall,
    /// The version before.
    Rollback,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] =
        [Kind::Install, Kind::Update, Kind::Enable, Kind::Disable, Kind::Uninstall, Kind::Rollback];

    /// Its name, as it is stored and answered.
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

    /// The action of the audit log.
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
    /// What it was.
    pub kind: Kind,
    /// The extension.
    pub name: String,
    /// The version before; `None` where there was none.
    pub from_version: Option<String>,
    /// The version now; `None` where it was taken away.
    pub to_version: Option<String>,
}

/// Why a change was not carried out. What ran before runs as it did.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ChangeError {
    /// A stable snake_case word for it.
    pub code: Cow<'static, str>,
    /// What happened, and what to do.
    pub message: String,
}

impl ChangeError {
    /// An error with a code of the lifecycle's own.
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> ChangeError {
        ChangeError { code: Cow::Borrowed(code), message: message.into() }
    }

    pub(super) fn not_installed(name: &str) -> ChangeError {
        ChangeError::new("extension_not_installed", format!("the extension {name:?} is not installed"))
    }

    /// The HTTP status of an answer that tells of it.
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
