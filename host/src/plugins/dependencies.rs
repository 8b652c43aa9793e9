//! What extensions need of each other: which must be enabled beside one, which need it, and in which order they start.
//! It never changes what is enabled.

use std::collections::BTreeMap;

use semver::{Version, VersionReq};
use thiserror::Error;

use super::{manifest::Manifest, store::Installed};

/// Why an extension cannot be there, or cannot go.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DependencyError {
    /// Another extension is not there as it must be.
    #[error("{name} needs the extension {dependency} in a version {range}, which {problem}")]
    Missing {
        /// Who needs it.
        name: String,
        /// What it needs.
        dependency: String,
        /// In which versions.
        range: VersionReq,
        /// What is instead.
        problem: String,
    },
    /// Another extension is enabled and does not run.
    #[error("{name} needs the extension {dependency} in a version {range}, which {problem}")]
    NotLoaded {
        /// Who needs it.
        name: String,
        /// What it needs.
        dependency: String,
        /// In which versions.
        range: VersionReq,
        /// Why it does not run, or what runs instead.
        problem: String,
    },
    /// Others work with other versions of it.
    #[error("{by} needs {name} in a version {range}, and this is {version}")]
    Conflict {
        /// Who needs it.
        by: String,
        /// What is needed.
        name: String,
        /// In which versions.
        range: VersionReq,
        /// The version that it would be.
        version: Version,
    },
    /// Others need it.
    #[error("{name} is needed by {}: disable them before", .by.join(" and "))]
    Needed {
        /// What is needed.
        name: String,
        /// Who needs it.
        by: Vec<String>,
    },
    /// They would wait for each other.
    #[error("{name} would need itself, by way of {}", .by.join(", "))]
    Cycle {
        /// Who.
        name: String,
        /// The way back to it.
        by: Vec<String>,
    },
}

impl DependencyError {
    /// A stable snake_case word for it.
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

/// Whether everything that `manifest` needs is enabled in a version that fits, and nothing of it needs `manifest` in turn.
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

/// Whether everything that `manifest` needs runs in a version that fits. `runs` tells the version of what runs, and `why` what
/// is known of that which does not.
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

/// Whether `from` needs `to`, itself or through others; `way` holds whom by then.
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

/// Whether those that are enabled and need `name` work with this version of it.
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

/// Whether nobody that is enabled needs `name`.
///
/// # Errors
/// [`DependencyError::Needed`].
pub fn check_not_needed(name: &str, installed: &[Installed]) -> Result<(), DependencyError> {
    let needs = |other: &&Installed| other.is_enabled && dependencies(other).contains_key(name);
    let by: Vec<String> = installed.iter().filter(needs).map(|other| other.name.clone()).collect();
    if by.is_empty() { Ok(()) } else { Err(DependencyError::Needed { name: name.to_owned(), by }) }
}

/// The order in which they start: what others need before them, and as installed otherwise.
pub fn in_order(installed: Vec<Installed>) -> Vec<Installed> {
    let mut left = installed;
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |one: &Installed| {
            let needs = dependencies(one);
            left.iter().any(|other| other.name != one.name && needs.contains_key(&other.name))
        };
        // Where they wait for each other, none can be first: the first one learns what it lacks when it starts.
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
