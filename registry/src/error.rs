//! The errors between this host and a registry, each with a code that never changes. Errors of `tough` and `reqwest`
//! are translated here, so that users never see only their messages.

use std::{error::Error as _, fmt, io, path::Path};

use tough::{TransportError, TransportErrorKind, error::Error as Tough};

use crate::transport::Refused;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// The kind of error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All kinds.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// Returns the stable code.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$name => $code,)*
                }
            }
        }
    };
}

codes! {
    /// Metadata is malformed, or differs from its description in other metadata.
    MetadataInvalid = "metadata_invalid",
    /// Metadata is larger than allowed.
    MetadataTooLarge = "metadata_too_large",
    /// Metadata is not signed by enough authorized keys.
    SignatureInvalid = "signature_invalid",
    /// Metadata has expired.
    MetadataExpired = "metadata_expired",
    /// The registry serves older metadata than it did before.
    RollbackDetected = "rollback_detected",
    /// A role lists files that another role is responsible for.
    WrongRole = "wrong_role",
    /// The configured root of trust is invalid.
    RootInvalid = "root_invalid",
    /// The registry cannot be reached.
    Unreachable = "registry_unreachable",
    /// The registry's certificate is not trusted.
    Certificate = "registry_certificate",
    /// The registry is too slow.
    Timeout = "registry_timeout",
    /// The registry redirects to another origin, or too often.
    Redirect = "registry_redirect",
    /// The registry responds with an error status.
    Status = "registry_status",
    /// An archive is larger than allowed.
    ArchiveTooLarge = "archive_too_large",
    /// An archive's hash differs from the signed one.
    HashMismatch = "hash_mismatch",
    /// A package differs from its entry in the registry.
    EntryDiffers = "entry_differs",
    /// The registry does not have the extension.
    UnknownExtension = "unknown_extension",
    /// This machine's clock shows an earlier time than it did before.
    ClockWentBack = "clock_went_back",
    /// The folder with the known state of the registry cannot be used.
    Datastore = "registry_datastore",
    /// An I/O error.
    Io = "registry_io",
    /// A key is missing or invalid.
    Key = "registry_key",
    /// Too few keys were given to sign what must be signed.
    ThresholdNotMet = "threshold_not_met",
    /// A file cannot be published.
    NotPublishable = "not_publishable",
}

/// An error of a registry.
#[derive(Debug)]
pub struct RegistryError {
    /// The kind of error.
    pub code: Code,
    /// What happened, where, and what to do.
    pub words: String,
}

impl RegistryError {
    /// Creates an error of this kind.
    pub(crate) fn new(code: Code, words: impl Into<String>) -> RegistryError {
        RegistryError { code, words: words.into() }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> RegistryError {
        let path = path.display().to_string();
        move |error| RegistryError::new(Code::Io, format!("{path}: {error}"))
    }

    /// Creates the error for something that cannot be published.
    pub fn not_publishable(words: impl Into<String>) -> RegistryError {
        RegistryError::new(Code::NotPublishable, words)
    }

    /// Creates the error for an address that cannot be reached or listened on.
    pub fn unreachable(words: impl Into<String>) -> RegistryError {
        RegistryError::new(Code::Unreachable, words)
    }

    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        self.code.as_str()
    }

    /// Adds the name of the registry to the message.
    pub(crate) fn of(self, registry: &str) -> RegistryError {
        RegistryError { words: format!("the registry {registry:?}: {}", self.words), ..self }
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.words)
    }
}

impl std::error::Error for RegistryError {}

/// What was being fetched when an error occurred, which determines the meaning of some errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetching {
    Metadata,
    Archive,
}

impl Fetching {
    fn differs(self) -> (Code, &'static str) {
        match self {
            Fetching::Metadata => {
                (Code::MetadataInvalid, "its metadata is not what other metadata says of it")
            }
            Fetching::Archive => {
                (Code::HashMismatch, "the archive is not the one that was signed; it was damaged or replaced")
            }
        }
    }

    fn too_large(self) -> (Code, &'static str) {
        match self {
            Fetching::Metadata => (Code::MetadataTooLarge, "its metadata is larger than allowed"),
            Fetching::Archive => (Code::ArchiveTooLarge, "the archive is larger than was signed"),
        }
    }
}

/// Translates an error of `tough`.
pub(crate) fn translate(error: &Tough, fetching: Fetching) -> RegistryError {
    let say = |code, words: &str| RegistryError::new(code, format!("{words} ({error})"));
    match error {
        Tough::Transport { source, .. } => translate_transport(source, fetching),
        Tough::HashMismatch { .. } => say(fetching.differs().0, fetching.differs().1),
        Tough::MaxSizeExceeded { .. } => say(fetching.too_large().0, fetching.too_large().1),
        Tough::ExpiredMetadata { .. } => say(
            Code::MetadataExpired,
            "its metadata has expired: its operator has not renewed it, or somebody holds newer metadata back",
        ),
        Tough::OlderMetadata { .. }
        | Tough::OlderSnapshotInTimestamp { .. }
        | Tough::SnapshotRoleMissing { .. }
        | Tough::SnapshotRoleRollback { .. } => {
            say(Code::RollbackDetected, "it serves older metadata than it did before, which is refused")
        }
        Tough::ParseTrustedMetadata { .. } | Tough::VerifyTrustedMetadata { .. } => {
            say(Code::RootInvalid, "its root of trust is no root metadata that is signed by its own keys")
        }
        Tough::VerifyMetadata { .. } | Tough::VerifyRoleMetadata { .. } => {
            say(Code::SignatureInvalid, "its metadata is not signed by enough of the keys that may sign it")
        }
        Tough::InvalidPath { .. } => {
            say(Code::WrongRole, "a role of it lists an extension that another publisher is responsible for")
        }
        Tough::SystemTimeSteppedBackward { .. } => say(
            Code::ClockWentBack,
            "the clock of this machine shows an earlier time than it did before; set it",
        ),
        Tough::DatastoreCreate { .. } | Tough::DatastoreOpen { .. } | Tough::DatastoreRemove { .. } => {
            say(Code::Datastore, "what is known of it cannot be kept")
        }
        _ => say(Code::MetadataInvalid, "its metadata is malformed"),
    }
}

pub(crate) fn translate_transport(error: &TransportError, fetching: Fetching) -> RegistryError {
    let cause = error.source();
    if let Some(refused) = cause.and_then(|cause| cause.downcast_ref::<Refused>()) {
        return RegistryError::new(refused.code, format!("{}: {}", error.url(), refused.words));
    }
    if let Some(inner) = cause.and_then(|cause| cause.downcast_ref::<Tough>()) {
        return translate(inner, fetching);
    }
    let words = match error.kind() {
        TransportErrorKind::FileNotFound => format!("{}: there is no such file", error.url()),
        _ => error.to_string(),
    };
    RegistryError::new(Code::Unreachable, words)
}
