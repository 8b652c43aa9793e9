//! The reason why there is no plan, in one sentence with the extensions involved. It decides nothing.

use std::fmt;

use semver::{Version, VersionReq};

use crate::entry::Publisher;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// The kinds of conflicts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ConflictKind {
            $($(#[$doc])* $name,)*
        }

        impl ConflictKind {
            /// All kinds.
            pub const ALL: &'static [ConflictKind] = &[$(ConflictKind::$name,)*];

            /// Returns the stable code.
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
    /// No version satisfies the requirements.
    VersionNotFound = "version_not_found",
    /// A dependency does not exist.
    DependencyMissing = "dependency_missing",
    /// Two extensions need different versions of a third.
    DependencyConflict = "dependency_conflict",
    /// Extensions depend on each other in a cycle.
    Cycle = "dependency_cycle",
    /// The package was built for another ABI.
    Abi = "abi_mismatch",
    /// The package is not for this version of the host.
    Host = "host_mismatch",
    /// There is no package for this target.
    Target = "target_mismatch",
    /// The version was revoked.
    Revoked = "extension_revoked",
    /// The version was yanked by its publisher.
    Yanked = "version_yanked",
    /// The publisher or its keys changed.
    PublisherChanged = "publisher_changed",
    /// The search exceeded its limit.
    TooHard = "resolution_too_hard",
}

/// The reason why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The kind of conflict.
    pub kind: ConflictKind,
    /// The message.
    pub words: String,
}

impl Conflict {
    pub(super) fn new(kind: ConflictKind, words: impl Into<String>) -> Conflict {
        Conflict { kind, words: words.into() }
    }

    /// Returns the stable code.
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

/// The source of a need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    /// The user.
    You,
    /// An extension with its version.
    Extension(String, Version),
}

/// A requirement on the version of an extension.
#[derive(Debug, Clone)]
pub(super) struct Need {
    pub(super) who: Who,
    pub(super) requirement: VersionReq,
}

impl Need {
    pub(super) fn fits(&self, version: &Version) -> bool {
        self.requirement.matches(version)
    }

    /// Describes the need: "webhooks 2.0.0 needs collections >=2".
    fn say(&self, name: &str) -> String {
        let requirement = &self.requirement;
        match &self.who {
            Who::You if *requirement == VersionReq::STAR => format!("you asked for {name}"),
            Who::You => format!("you asked for {name} {requirement}"),
            Who::Extension(who, version) => format!("{who} {version} needs {name} {requirement}"),
        }
    }
}

/// Returns the conflict for needs that contradict each other or the installed version.
pub(super) fn between(name: &str, needs: &[Need], installed: Option<&Version>) -> Conflict {
    let mut needs: Vec<&Need> = needs.iter().collect();
    // Needs that the installed version does not satisfy come first.
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

/// Returns the conflict for an extension that does not exist.
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

/// Returns the conflict for an extension without a suitable version.
pub(super) fn no_version(name: &str, need: &Need, versions: &[&Version]) -> Conflict {
    let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
    let words = format!("no version of {name} fits {}; there are: {}", need.requirement, versions.join(", "));
    Conflict::new(ConflictKind::VersionNotFound, words)
}

/// Returns the conflict for a changed publisher.
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

/// Returns the conflict for a dependency cycle; the first name is repeated at the end.
pub(super) fn cycle(names: &[String]) -> Conflict {
    let words = format!("extensions need each other in a circle: {}", names.join(" → "));
    Conflict::new(ConflictKind::Cycle, words)
}
