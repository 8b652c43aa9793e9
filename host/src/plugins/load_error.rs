//! Why an extension is not installed or not loaded, with a stable code for each reason. Never decides what
//! follows from it.

use std::time::Duration;

use thiserror::Error;
use tinybase_abi::{error::RawError, loaded::OpenError};

use super::{
    dependencies::DependencyError, generation::JoinError, lifecycle::ChangeError, own_thread::Lost,
    package::PackageError, process::Outlook, registration::RegistrationError,
};
use crate::db::{DbError, migrations::MigrateError};

/// Why an extension was not installed or loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Its folder is not an extension.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// Its files are not the ones that were installed.
    #[error("its files were changed after it was installed: install it again")]
    FilesChanged,
    /// Another process or user changed it during loading.
    #[error("it was changed while it was loaded, and is looked at again")]
    MovedOn,
    /// Its library cannot be opened as a plugin.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The library was built with a different manifest.
    #[error("its library was built with another manifest ({library}) than the one beside it ({package})")]
    ManifestDiffers {
        /// The manifest hash in the library.
        library: String,
        /// The hash of the package's manifest.
        package: String,
    },
    /// It is not compatible with this host.
    #[error("it works with TinyBase {range}, and this is {host}")]
    HostRange {
        /// The versions of TinyBase that it works with.
        range: String,
        /// This host's version.
        host: String,
    },
    /// Its tables could not be told apart from those of another extension.
    #[error(
        "its tables would begin like those of the extension {other}, which is installed or left tables behind: rename {name}"
    )]
    PrefixTaken {
        /// Its name.
        name: String,
        /// The other extension's name.
        other: String,
    },
    /// The probe process refused it.
    #[error("{message}")]
    Probe {
        /// The stable code of the problem.
        code: String,
        /// The problem in words.
        message: String,
    },
    /// A dependency is missing.
    #[error(transparent)]
    Dependency(#[from] DependencyError),
    /// The plugin returned an error.
    #[error("{step} failed: {message} ({code})")]
    Plugin {
        /// The call that failed.
        step: &'static str,
        /// The error's code.
        code: String,
        /// The error's message.
        message: String,
    },
    /// The plugin took too long.
    #[error("{step} took longer than {} ms", .timeout.as_millis())]
    Slow {
        /// The call that took too long.
        step: &'static str,
        /// The limit.
        timeout: Duration,
    },
    /// A call of the plugin never returned and occupies a thread.
    #[error(
        "{step} took longer than {} ms and does not come back: it holds a thread of this process until that is restarted",
        .timeout.as_millis()
    )]
    Stuck {
        /// The call that never returned.
        step: &'static str,
        /// The limit.
        timeout: Duration,
    },
    /// Something panicked on the host's side.
    #[error("it made the host panic: {0}")]
    Panicked(String),
    /// Its registration is refused.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// Its migrations failed.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The host's database failed.
    #[error(transparent)]
    Database(#[from] DbError),
    /// A file or folder of the host is unusable.
    #[error("{path}: {problem}")]
    File {
        /// The path.
        path: String,
        /// The problem.
        problem: String,
    },
    /// An unfinished change could not be completed.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// No enabled extension has this command.
    #[error("{0}")]
    NoCommand(String),
    /// A built-in extension is not of the version bundled with this program.
    #[error(
        "the extension {0} is not the one that came with this program; serve once, which brings it up to date"
    )]
    Outdated(String),
    /// `extensions.set` contains an unknown name.
    #[error("extensions.set names {name:?}, which did not come with this program; there are: {known}")]
    UnknownInSet {
        /// The name.
        name: String,
        /// The known names.
        known: String,
    },
    /// It took a server down.
    #[error("the extension {name} is quarantined: {reason}")]
    Quarantined {
        /// Its name.
        name: String,
        /// The reason for the quarantine.
        reason: String,
    },
}

impl From<RegistrationError> for LoadError {
    fn from(error: RegistrationError) -> LoadError {
        LoadError::Join(error.into())
    }
}

impl LoadError {
    pub(super) fn plugin(step: &'static str, error: &RawError) -> LoadError {
        let words = error.words();
        LoadError::Plugin { step, code: words.code, message: words.message }
    }

    pub(super) fn lost(step: &'static str, timeout: Duration, lost: Lost) -> LoadError {
        match lost {
            Lost::Stuck => LoadError::Stuck { step, timeout },
            Lost::Broke(problem) => LoadError::Panicked(problem),
        }
    }

    pub(super) fn file(path: &str, error: &std::io::Error) -> LoadError {
        LoadError::File { path: path.to_owned(), problem: error.to_string() }
    }

    /// Returns whether a retry may succeed.
    pub(super) fn outlook(&self) -> Outlook {
        match self {
            LoadError::MovedOn
            | LoadError::Database(_)
            | LoadError::Migrate(MigrateError::Unknown { .. } | MigrateError::Record(_)) => Outlook::Passing,
            LoadError::Stuck { .. } => Outlook::Hopeless,
            _ => Outlook::Open,
        }
    }

    /// Returns its stable code in snake_case.
    pub fn code(&self) -> &str {
        match self {
            LoadError::Package(_) => "package_invalid",
            LoadError::MovedOn => "extension_changed",
            LoadError::FilesChanged => "files_changed",
            LoadError::Open(error) => error.code(),
            LoadError::ManifestDiffers { .. } => "manifest_differs",
            LoadError::HostRange { .. } => "host_range",
            LoadError::PrefixTaken { .. } => "table_prefix_taken",
            LoadError::Probe { code, .. } => code,
            LoadError::Dependency(error) => error.code(),
            LoadError::Plugin { .. } => "plugin_failed",
            LoadError::Slow { .. } => "plugin_timeout",
            LoadError::Stuck { .. } => "plugin_stuck",
            LoadError::Panicked(_) => "host_panicked",
            LoadError::Join(_) => "registration_refused",
            LoadError::Migrate(_) => "migration_failed",
            LoadError::Database(error) => error.code(),
            LoadError::File { .. } => "file_failed",
            LoadError::Change(error) => &error.code,
            LoadError::NoCommand(_) => "no_such_command",
            LoadError::Outdated(_) => "extension_outdated",
            LoadError::UnknownInSet { .. } => "extension_set_unknown",
            LoadError::Quarantined { .. } => "extension_quarantined",
        }
    }
}
