//! Why there is no plan, in one sentence that names who needs what. It decides nothing.

use std::fmt;

use semver::{Version, VersionReq};

use crate::entry::Publisher;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// The kinds of reasons.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ConflictKind {
            $($(#[$doc])* $name,)*
        }

        impl ConflictKind {
            /// All of them.
            pub const ALL: &'static [ConflictKind] = &[$(ConflictKind::$name,)*];

            /// A stable code.
            pub fn code(self) -> &'static str {
                match self {
                    $(ConflictKind::$name => $code,)*
                }
            }
        }
    };
}

kinds! {
    /// No registry has the extension.
    Unknown = "unknown_extension",
    /// No version will do.
    VersionNotFound = "version_not_found",
    /// What an extension needs is nowhere.
    DependencyMissing = "dependency_missing",
    /// Two extensions need different versions of a third.
    DependencyConflict = "dependency_conflict",
    /// Extensions need each other in a circle.
    Cycle = "dependency_cycle",
    /// The package was built for another ABI.
    Abi = "abi_mismatch",
    /// The package is not for this version of the host.
    Host = "host_mismatch",
    /// There is no package for this target.
    Target = "target_mismatch",
    /// The version was revoked.
    Revoked = "extension_revoked",
    /// Its publisher took the version back.
    Yanked = "version_yanked",
    /// Another publisher, or other keys, than before.
    PublisherChanged = "publisher_changed",
    /// The search was given up.
    TooHard = "resolution_too_hard",
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The kind of reason.
    pub kind: ConflictKind,
    /// The sentence.
    pub words: String,
}

impl Conflict {
    pub(super) fn new(kind: ConflictKind, words: impl Into<String>) -> Conflict {
        Conflict { kind, words: words.into() }
    }

    /// A stable code.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.words)
    }
}

impl std::error::Error for Conflict {}

/// Who needs an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    /// Whoever asks.
    You,
    /// An extension in a version.
    Extension(String, Version),
}

/// That somebody needs certain versions of an extension.
#[derive(Debug, Clone)]
pub(super) struct Need {
    pub(super) who: Who,
    pub(super) requirement: VersionReq,
}

impl Need {
    pub(super) fn fits(&self, version: &Version) -> bool {
        self.requirement.matches(version)
    }

    /// "webhooks 2.0.0 needs collections >=2".
    fn say(&self, name: &str) -> String {
        let requirement = &self.requirement;
        match &self.who {
            Who::You if *requirement == VersionReq::STAR => format!("you asked for {name}"),
            Who::You => format!("you asked for {name} {requirement}"),
            Who::Extension(who, version) => format!("{who} {version} needs {name} {requirement}"),
        }
    }
}

/// What an extension is needed for does not go together, or with what is installed.
pub(super) fn between(name: &str, needs: &[Need], installed: Option<&Version>) -> Conflict {
    let mut needs: Vec<&Need> = needs.iter().collect();
    // First who is not content with what is installed, then the others.
    needs.sort_by_key(|need| installed.is_some_and(|version| need.fits(version)));
    let said: Vec<String> = needs.iter().map(|need| need.say(name)).collect();
    let (first, others) = said.split_first().expect("somebody needs it");
    let words = match (installed, others.is_empty()) {
        (Some(version), true) => {
            format!("{first}, but {version} is installed and no registry has one that fits")
        }
        (Some(version), false) => format!("{first}, but {version} is installed and {}", others.join(" and ")),
        (None, true) => format!("{first}, and no registry has one that fits"),
        (None, false) => format!("{first}, but {}", others.join(" and ")),
    };
    Conflict::new(ConflictKind::DependencyConflict, words)
}

/// Nobody has the extension.
pub(super) fn nowhere(name: &str, needs: &[Need]) -> Conflict {
    let by_extension = needs.iter().find(|need| need.who != Who::You);
    match by_extension {
        Some(need) => {
            let words = format!("{}, which is neither installed nor in a registry", need.say(name));
            Conflict::new(ConflictKind::DependencyMissing, words)
        }
        None => Conflict::new(ConflictKind::Unknown, format!("no registry has an extension {name:?}")),
    }
}

/// The extension is there, but not in a version that will do.
pub(super) fn no_version(name: &str, need: &Need, versions: &[&Version]) -> Conflict {
    let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
    let words = format!("no version of {name} fits {}; there are: {}", need.requirement, versions.join(", "));
    Conflict::new(ConflictKind::VersionNotFound, words)
}

/// The publisher is another than before.
pub(super) fn publisher(name: &str, before: &Publisher, now: &Publisher) -> Conflict {
    let keys = |publisher: &Publisher| {
        publisher.keys.iter().map(|key| &key[..key.len().min(16)]).collect::<Vec<_>>().join(", ")
    };
    let words = format!(
        "{name} was published by {} (keys {}) and is now by {} (keys {}); accept the new publisher only if you know why it changed",
        before.name,
        keys(before),
        now.name,
        keys(now)
    );
    Conflict::new(ConflictKind::PublisherChanged, words)
}

/// Extensions that need each other; the first one stands at the end again.
pub(super) fn cycle(names: &[String]) -> Conflict {
    let words = format!("extensions need each other in a circle: {}", names.join(" → "));
    Conflict::new(ConflictKind::Cycle, words)
}
