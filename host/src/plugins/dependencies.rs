//! Dependencies between extensions: what an extension needs, what needs it, and the order in which they
//! start. Never changes what is enabled.

use std::collections::BTreeMap;

use semver::{Version, VersionReq};
use thiserror::Error;

use super::{manifest::Manifest, store::Installed};

/// Why an extension cannot be added or removed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DependencyError {
    /// A dependency is missing or has an unsuitable version.
    #[error("{name} needs the extension {dependency} in a version {range}, which {problem}")]
    Missing {
        /// The extension that needs it.
        name: String,
        /// The dependency.
        dependency: String,
        /// The accepted versions.
        range: VersionReq,
        /// What is wrong with it.
        problem: String,
    },
    /// A dependency is enabled but not running.
    #[error("{name} needs the extension {dependency} in a version {range}, which {problem}")]
    NotLoaded {
        /// The extension that needs it.
        name: String,
        /// The dependency.
        dependency: String,
        /// The accepted versions.
        range: VersionReq,
        /// Why it is not running, or which version runs instead.
        problem: String,
    },
    /// A dependent extension does not accept this version.
    #[error("{by} needs {name} in a version {range}, and this is {version}")]
    Conflict {
        /// The dependent extension.
        by: String,
        /// The extension it needs.
        name: String,
        /// The accepted versions.
        range: VersionReq,
        /// The version to be installed.
        version: Version,
    },
    /// Other enabled extensions need it.
    #[error("{name} is needed by {}: disable them before", .by.join(" and "))]
    Needed {
        /// The needed extension.
        name: String,
        /// The extensions that need it.
        by: Vec<String>,
    },
    /// Extensions depend on each other in a cycle.
    #[error("{name} would need itself, by way of {}", .by.join(", "))]
    Cycle {
        /// An extension in the cycle.
        name: String,
        /// The path back to it.
        by: Vec<String>,
    },
}

impl DependencyError {
    /// Returns a stable code in snake_case.
    pub fn code(&self) -> &'static str {
        match self {
            DependencyError::Missing { .. } => "dependency_missing",
            DependencyError::NotLoaded { .. } => "dependency_not_loaded",
            DependencyError::Conflict { .. } => "dependency_conflict",
            DependencyError::Needed { .. } => "extension_needed",
            DependencyError::Cycle { .. } => "dependency_cycle",
        }
    }
}

fn dependencies(installed: &Installed) -> BTreeMap<String, VersionReq> {
    let found = installed.manifest.get("dependencies").cloned().unwrap_or_default();
    serde_json::from_value(found).unwrap_or_default()
}

/// Checks that everything `manifest` needs is enabled in an accepted version, without a dependency cycle.
///
/// # Errors
/// [`DependencyError::Missing`], [`DependencyError::Cycle`].
pub fn check_needs(manifest: &Manifest, installed: &[Installed]) -> Result<(), DependencyError> {
    for (dependency, range) in &manifest.dependencies {
        let problem = match installed.iter().find(|other| other.name == *dependency) {
            None => "is not installed".to_owned(),
            Some(other) if !other.is_enabled => "is disabled".to_owned(),
            Some(other) if other.quarantined_reason.is_some() => "is quarantined".to_owned(),
            Some(other) if !fits(range, &other.version) => format!("is {} here", other.version),
            Some(_) => continue,
        };
        let (name, dependency, range) = (manifest.name.clone(), dependency.clone(), range.clone());
        return Err(DependencyError::Missing { name, dependency, range, problem });
    }
    let mut way = Vec::new();
    let needs_it =
        manifest.dependencies.keys().any(|next| leads_to(next, &manifest.name, installed, &mut way));
    if needs_it { Err(DependencyError::Cycle { name: manifest.name.clone(), by: way }) } else { Ok(()) }
}

/// Checks that everything `manifest` needs is running in an accepted version. `runs` returns the version of a
/// running extension, `why` the known reason for one that is not running.
///
/// # Errors
/// [`DependencyError::NotLoaded`].
pub fn check_runs(
    manifest: &Manifest,
    runs: impl Fn(&str) -> Option<Version>,
    why: impl Fn(&str) -> Option<String>,
) -> Result<(), DependencyError> {
    for (dependency, range) in &manifest.dependencies {
        let problem = match runs(dependency) {
            Some(version) if range.matches(&version) => continue,
            Some(version) => format!("runs as {version} here"),
            None => match why(dependency) {
                Some(reason) => format!("is not loaded: {reason}"),
                None => "is not loaded here".to_owned(),
            },
        };
        let (name, dependency, range) = (manifest.name.clone(), dependency.clone(), range.clone());
        return Err(DependencyError::NotLoaded { name, dependency, range, problem });
    }
    Ok(())
}

/// Returns whether `from` needs `to`, directly or indirectly. `way` collects the path.
fn leads_to(from: &str, to: &str, installed: &[Installed], way: &mut Vec<String>) -> bool {
    if from == to {
        return true;
    }
    if way.iter().any(|passed| passed == from) {
        return false;
    }
    way.push(from.to_owned());
    let here = installed.iter().find(|other| other.name == from);
    let onwards =
        here.is_some_and(|here| dependencies(here).keys().any(|next| leads_to(next, to, installed, way)));
    if !onwards {
        way.pop();
    }
    onwards
}

fn fits(range: &VersionReq, version: &str) -> bool {
    Version::parse(version).is_ok_and(|version| range.matches(&version))
}

/// Checks that all enabled extensions that need `name` accept this version.
///
/// # Errors
/// [`DependencyError::Conflict`].
pub fn check_needed_version(
    name: &str,
    version: &Version,
    installed: &[Installed],
) -> Result<(), DependencyError> {
    for other in installed.iter().filter(|other| other.is_enabled && other.name != name) {
        if let Some(range) = dependencies(other).remove(name).filter(|range| !range.matches(version)) {
            let (by, name, version) = (other.name.clone(), name.to_owned(), version.clone());
            return Err(DependencyError::Conflict { by, name, range, version });
        }
    }
    Ok(())
}

/// Checks that no enabled extension needs `name`.
///
/// # Errors
/// [`DependencyError::Needed`].
pub fn check_not_needed(name: &str, installed: &[Installed]) -> Result<(), DependencyError> {
    let needs = |other: &&Installed| other.is_enabled && dependencies(other).contains_key(name);
    let by: Vec<String> = installed.iter().filter(needs).map(|other| other.name.clone()).collect();
    if by.is_empty() { Ok(()) } else { Err(DependencyError::Needed { name: name.to_owned(), by }) }
}

/// Returns the start order: dependencies first, otherwise the given order.
pub fn in_order(installed: Vec<Installed>) -> Vec<Installed> {
    let mut left = installed;
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |one: &Installed| {
            let needs = dependencies(one);
            left.iter().any(|other| other.name != one.name && needs.contains_key(&other.name))
        };
        // In a cycle, none can be first. The first one fails with its missing dependency when it starts.
        let next = left.iter().position(|one| !waits(one)).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn installed(name: &str, version: &str, needs: &[(&str, &str)]) -> Installed {
        let needs: BTreeMap<&str, &str> = needs.iter().copied().collect();
        Installed { is_enabled: true, ..Installed::named(name, version, json!({"dependencies": needs})) }
    }

    fn manifest(name: &str, needs: &str) -> Manifest {
        let text = format!("name = \"{name}\"\nversion = \"1.0.0\"\nabi = 1\n[dependencies]\n{needs}");
        Manifest::parse(&text).unwrap()
    }

    #[test]
    fn what_is_needed_must_be_enabled_in_a_version_that_fits() {
        let mut others = vec![installed("base", "1.2.0", &[])];
        let needs = |range: &str| manifest("top", &format!("base = \"{range}\""));
        check_needs(&needs("^1.1"), &others).unwrap();
        let told = check_needs(&needs("^2"), &others).unwrap_err();
        assert_eq!(told.to_string(), "top needs the extension base in a version ^2, which is 1.2.0 here");
        others[0].is_enabled = false;
        assert!(check_needs(&needs("*"), &others).unwrap_err().to_string().ends_with("is disabled"));
        assert!(check_needs(&needs("*"), &[]).unwrap_err().to_string().ends_with("is not installed"));
    }

    #[test]
    fn what_is_needed_must_run_in_a_version_that_fits() {
        let told = |runs: Option<Version>, why: Option<&str>| {
            let why = |_: &str| why.map(str::to_owned);
            check_runs(&manifest("top", "base = \"^1\""), |_| runs.clone(), why)
                .map_err(|told| told.to_string())
        };
        let needs = "top needs the extension base in a version ^1, which";
        assert_eq!(told(Some(Version::new(1, 2, 0)), None), Ok(()));
        assert_eq!(told(Some(Version::new(2, 0, 0)), None), Err(format!("{needs} runs as 2.0.0 here")));
        assert_eq!(told(None, Some("a hole")), Err(format!("{needs} is not loaded: a hole")));
        assert_eq!(told(None, None), Err(format!("{needs} is not loaded here")));
    }

    #[test]
    fn who_is_needed_stays_and_fits() {
        let all = [installed("base", "1.2.0", &[]), installed("top", "1.0.0", &[("base", "^1")])];
        assert_eq!(
            check_not_needed("base", &all).unwrap_err().to_string(),
            "base is needed by top: disable them before"
        );
        check_not_needed("top", &all).unwrap();
        check_needed_version("base", &Version::new(1, 9, 0), &all).unwrap();
        let told = check_needed_version("base", &Version::new(2, 0, 0), &all).unwrap_err();
        assert_eq!(told.to_string(), "top needs base in a version ^1, and this is 2.0.0");
    }

    #[test]
    fn none_may_need_itself() {
        let all =
            [installed("base", "1.0.0", &[("middle", "*")]), installed("middle", "1.0.0", &[("top", "*")])];
        let told = check_needs(&manifest("top", "base = \"*\""), &all).unwrap_err();
        assert_eq!(told.to_string(), "top would need itself, by way of base, middle");
    }

    #[test]
    fn what_is_needed_starts_first() {
        let all = vec![
            installed("top", "1.0.0", &[("base", "*"), ("gone", "*")]),
            installed("other", "1.0.0", &[]),
            installed("base", "1.0.0", &[]),
        ];
        let names: Vec<String> = in_order(all).into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["other", "base", "top"]);
        let circle = vec![installed("a", "1.0.0", &[("b", "*")]), installed("b", "1.0.0", &[("a", "*")])];
        assert_eq!(in_order(circle).len(), 2);
    }
}
