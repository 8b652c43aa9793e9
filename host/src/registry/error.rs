//! The error for all failures between a request for an extension and the lifecycle, with a stable code.

use std::{borrow::Cow, fmt, io, path::Path};

use http::StatusCode;
use tinybase_package::{archive::ArchiveError, unpacked::PackageError};
use tinybase_registry::{RegistryError, resolver::Conflict};

use crate::{
    db::DbError,
    error::ApiError,
    plugins::{LoadError, lifecycle::ChangeError, lock_file::LockFileError},
};

/// Why nothing was installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallError {
    /// A stable code in snake_case.
    pub code: Cow<'static, str>,
    /// What happened, where, and what to do about it.
    pub message: String,
    status: StatusCode,
}

impl InstallError {
    /// Creates the error for an invalid request.
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> InstallError {
        InstallError { code: Cow::Borrowed(code), message: message.into(), status: StatusCode::BAD_REQUEST }
    }

    fn of(code: &str, message: String, status: StatusCode) -> InstallError {
        InstallError { code: Cow::Owned(code.to_owned()), message, status }
    }

    pub(super) fn not_installed(name: &str) -> InstallError {
        let words = format!("the extension {name:?} is not installed; see: tinybase extensions list");
        InstallError::of("extension_not_installed", words, StatusCode::NOT_FOUND)
    }

    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> InstallError {
        let path = path.display().to_string();
        move |error| {
            InstallError::of("file_failed", format!("{path}: {error}"), StatusCode::INTERNAL_SERVER_ERROR)
        }
    }

    pub(super) fn lost(error: &tokio::task::JoinError) -> InstallError {
        InstallError::of("host_panicked", error.to_string(), StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl fmt::Display for InstallError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for InstallError {}

impl From<RegistryError> for InstallError {
    fn from(error: RegistryError) -> InstallError {
        let code = error.code.as_str();
        let status = match code {
            "unknown_extension" => StatusCode::NOT_FOUND,
            "registry_unreachable" | "registry_timeout" | "registry_status" | "registry_certificate" => {
                StatusCode::BAD_GATEWAY
            }
            "registry_io" | "registry_datastore" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        InstallError::of(code, error.to_string(), status)
    }
}

impl From<ArchiveError> for InstallError {
    fn from(error: ArchiveError) -> InstallError {
        InstallError::of(error.code(), error.to_string(), StatusCode::BAD_REQUEST)
    }
}

impl From<Conflict> for InstallError {
    fn from(conflict: Conflict) -> InstallError {
        let status = match conflict.code() {
            "unknown_extension" => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        };
        InstallError::of(conflict.code(), conflict.to_string(), status)
    }
}

impl From<ChangeError> for InstallError {
    fn from(error: ChangeError) -> InstallError {
        InstallError::of(&error.code, error.message.clone(), error.status())
    }
}

impl From<LoadError> for InstallError {
    fn from(error: LoadError) -> InstallError {
        ChangeError::from(error).into()
    }
}

impl From<PackageError> for InstallError {
    fn from(error: PackageError) -> InstallError {
        LoadError::from(error).into()
    }
}

impl From<DbError> for InstallError {
    fn from(error: DbError) -> InstallError {
        LoadError::from(error).into()
    }
}

impl From<LockFileError> for InstallError {
    fn from(error: LockFileError) -> InstallError {
        InstallError::of("lock_file_invalid", error.to_string(), StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<InstallError> for ApiError {
    fn from(error: InstallError) -> ApiError {
        ApiError::new(error.status, error.code.into_owned(), error.message)
    }
}
