//! A backtracking search: for each extension, chooses the best candidate without a conflict, and goes back if that
//! leads nowhere. The first dead end is reported, since it is where the best choices led.

use std::collections::{BTreeMap, BTreeSet};

use semver::{Version, VersionReq};

use super::{
    Catalogue, Conflict, ConflictKind, Installed, Origin, Plan, Request, ResolverInput, Step, Wanted,
    conflict::{self, Need, Who},
};
use crate::entry::{Entry, Publisher};

/// The maximum number of candidates that are tried.
const TRIES_MAX: u32 = 100_000;

/// A candidate version of an extension.
#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    version: &'a Version,
    dependencies: &'a BTreeMap<String, VersionReq>,
    from: From<'a>,
}

#[derive(Debug, Clone, Copy)]
enum From<'a> {
    Installed(&'a Installed),
    Local(&'a super::Local),
    Registry(&'a Entry),
}

/// The reason why a candidate is rejected.
enum Refusal {
    /// Another extension or the user needs another version.
    Need,
    /// It needs another version of a chosen extension.
    Dependency(String),
    /// A property of the candidate itself.
    Itself(Conflict),
}

pub(super) struct Search<'a> {
    request: &'a Request,
    input: &'a ResolverInput<'a>,
    chosen: BTreeMap<String, Candidate<'a>>,
    needs: BTreeMap<String, Vec<Need>>,
    dead_end: Option<Conflict>,
    tries: u32,
}

impl<'a> Search<'a> {
    pub(super) fn new(request: &'a Request, input: &'a ResolverInput<'a>) -> Search<'a> {
        let (chosen, needs) = (BTreeMap::new(), BTreeMap::new());
        Search { request, input, chosen, needs, dead_end: None, tries: 0 }
    }

    pub(super) fn run(mut self) -> Result<Plan, Conflict> {
        let mut agenda = Vec::new();
        for wanted in &self.request.wanted {
            self.check_publisher(wanted)?;
            let need = Need { who: Who::You, requirement: wanted.requirement.clone() };
            self.needs.entry(wanted.name.clone()).or_default().push(need);
            agenda.push(wanted.name.clone());
        }
        if self.choose(&agenda)? {
            return Ok(self.plan());
        }
        Err(self.dead_end.expect("a search that finds nothing has met a dead end"))
    }

    /// Chooses candidates for everything on the agenda. Returns whether that was possible; the choices are kept
    /// then.
    fn choose(&mut self, agenda: &[String]) -> Result<bool, Conflict> {
        let Some((name, rest)) = agenda.split_first() else { return Ok(self.is_free_of_cycles()) };
        if self.chosen.contains_key(name) {
            return self.choose(rest);
        }
        let candidates = self.candidates(name);
        let mut refused = Vec::new();
        for candidate in &candidates {
            self.tries += 1;
            if self.tries > TRIES_MAX {
                let words = "the extensions' needs are too entangled to find versions that fit; ask for exact versions";
                return Err(Conflict::new(ConflictKind::TooHard, words));
            }
            if let Some(refusal) = self.refuse(name, candidate) {
                refused.push((*candidate, refusal));
                continue;
            }
            if self.try_candidate(name, *candidate, rest)? {
                return Ok(true);
            }
        }
        if refused.len() == candidates.len() && self.dead_end.is_none() {
            self.dead_end = Some(self.explain(name, &refused));
        }
        Ok(false)
    }

    fn try_candidate(
        &mut self,
        name: &str,
        candidate: Candidate<'a>,
        rest: &[String],
    ) -> Result<bool, Conflict> {
        let before = self.needs.clone();
        self.chosen.insert(name.to_owned(), candidate);
        let mut agenda = rest.to_vec();
        for (dependency, requirement) in candidate.dependencies {
            let who = Who::Extension(name.to_owned(), candidate.version.clone());
            let need = Need { who, requirement: requirement.clone() };
            self.needs.entry(dependency.clone()).or_default().push(need);
            agenda.push(dependency.clone());
        }
        if !matches!(candidate.from, From::Installed(_)) {
            // Installed extensions that depend on this one must be compatible with the new version, or be changed
            // with it.
            let dependents =
                self.input.installed.iter().filter(|other| other.dependencies.contains_key(name));
            agenda.extend(dependents.map(|other| other.name.clone()));
        }
        if self.choose(&agenda)? {
            return Ok(true);
        }
        self.chosen.remove(name);
        self.needs = before;
        Ok(false)
    }

    fn wanted(&self, name: &str) -> Option<&'a Wanted> {
        self.request.wanted.iter().find(|wanted| wanted.name == name)
    }

    fn installed(&self, name: &str) -> Option<&'a Installed> {
        self.input.installed.iter().find(|installed| installed.name == name)
    }

    /// Returns the entries of the first registry that has the name, the newest first.
    fn entries(&self, name: &str) -> Vec<&'a Entry> {
        let has =
            |catalogue: &&Catalogue<'a>| catalogue.entries.iter().any(|entry| entry.listing.name == name);
        let Some(catalogue) = self.input.registries.iter().find(has) else { return Vec::new() };
        let mut entries: Vec<_> =
            catalogue.entries.iter().filter(|entry| entry.listing.name == name).collect();
        // For each version, the package for this target comes first. Others are kept only to report that there is
        // none.
        let is_foreign = |entry: &Entry| entry.listing.target != self.input.target;
        entries.sort_by(|one, two| {
            two.listing.version.cmp(&one.listing.version).then(is_foreign(one).cmp(&is_foreign(two)))
        });
        entries.dedup_by(|one, two| one.listing.version == two.listing.version);
        entries
    }

    /// Returns the candidates, the best first.
    fn candidates(&self, name: &str) -> Vec<Candidate<'a>> {
        let wanted = self.wanted(name);
        if let Some(local) = wanted.and_then(|wanted| wanted.local.as_ref()) {
            let (version, dependencies) = (&local.version, &local.dependencies);
            return vec![Candidate { version, dependencies, from: From::Local(local) }];
        }
        let registry = self.entries(name).into_iter().map(|entry| Candidate {
            version: &entry.listing.version,
            dependencies: &entry.listing.dependencies,
            from: From::Registry(entry),
        });
        let Some(installed) = self.installed(name) else { return registry.collect() };
        let (version, dependencies) = (&installed.version, &installed.dependencies);
        let kept = Candidate { version, dependencies, from: From::Installed(installed) };
        // An extension is downgraded only if that is requested.
        let may_go_back = wanted.is_some_and(|wanted| !wanted.requirement.matches(version));
        let (newer, older): (Vec<_>, Vec<_>) = registry
            .filter(|candidate| candidate.version != version)
            .partition(|candidate| candidate.version > version);
        let mut candidates = Vec::new();
        let is_upgrade = wanted.is_some_and(|wanted| wanted.upgrade);
        if is_upgrade {
            candidates.extend(newer);
            candidates.push(kept);
        } else {
            candidates.push(kept);
            candidates.extend(newer);
        }
        if may_go_back {
            candidates.extend(older);
        }
        candidates
    }

    fn refuse(&self, name: &str, candidate: &Candidate<'a>) -> Option<Refusal> {
        let needs = self.needs.get(name);
        if needs.is_some_and(|needs| needs.iter().any(|need| !need.fits(candidate.version))) {
            return Some(Refusal::Need);
        }
        if let Some(conflict) = self.refuse_itself(name, candidate) {
            return Some(Refusal::Itself(conflict));
        }
        let is_unfit = |(dependency, requirement): &(&String, &VersionReq)| {
            self.chosen.get(*dependency).is_some_and(|chosen| !requirement.matches(chosen.version))
        };
        let unfit = candidate.dependencies.iter().find(is_unfit);
        unfit.map(|(dependency, _)| Refusal::Dependency(dependency.clone()))
    }

    /// Returns the conflict of a candidate that does not depend on other choices.
    fn refuse_itself(&self, name: &str, candidate: &Candidate<'a>) -> Option<Conflict> {
        let version = candidate.version;
        let say = |kind, words: String| Some(Conflict::new(kind, format!("{name} {version} {words}")));
        let (abi, host, target) = match candidate.from {
            From::Installed(installed) => {
                let sha256 = installed.archive_sha256.as_deref();
                let mut all = self.input.registries.iter().flat_map(|catalogue| catalogue.revocations);
                let revoked = all.find(|revoked| revoked.is_about(name, version, sha256))?;
                return say(ConflictKind::Revoked, format!("was revoked: {}", revoked.reason));
            }
            From::Local(local) => (local.abi, &local.host, local.target.as_deref()),
            From::Registry(entry) => {
                if let Some(reason) = &entry.revoked {
                    return say(ConflictKind::Revoked, format!("was revoked: {reason}"));
                }
                if let Some(reason) = entry.listing.yanked.as_ref().filter(|_| !self.is_locked(name, version))
                {
                    return say(ConflictKind::Yanked, format!("was taken back by its publisher: {reason}"));
                }
                if let Some((before, now)) = self.changed_publisher(name, entry) {
                    return Some(conflict::publisher(name, before, now));
                }
                let listing = &entry.listing;
                (listing.abi, &listing.host, Some(listing.target.as_str()))
            }
        };
        if target.is_some_and(|target| target != self.input.target) {
            return say(ConflictKind::Target, format!("is not there for {}", self.input.target));
        }
        if !self.input.abi_majors.contains(&abi) {
            let majors: Vec<String> = self.input.abi_majors.iter().map(ToString::to_string).collect();
            let words = format!("was built for ABI {abi}; this host loads ABI {}", majors.join(" and "));
            return say(ConflictKind::Abi, words);
        }
        if !host.matches(&self.input.host) {
            return say(
                ConflictKind::Host,
                format!("works with host {host}; this one is {}", self.input.host),
            );
        }
        None
    }

    fn is_locked(&self, name: &str, version: &Version) -> bool {
        self.input.locked.iter().any(|locked| locked.name == name && locked.version == *version)
    }

    /// Returns the locked publisher and this entry's, if they differ and the change was not accepted.
    fn changed_publisher(&self, name: &str, entry: &'a Entry) -> Option<(&'a Publisher, &'a Publisher)> {
        let locked = self.input.locked.iter().find(|locked| locked.name == name)?.publisher.as_ref()?;
        let keys = |publisher: &Publisher| publisher.keys.iter().cloned().collect::<BTreeSet<_>>();
        let is_same = locked.name == entry.publisher.name && keys(locked) == keys(&entry.publisher);
        (!is_same && !self.request.accepted_publishers.contains(name)).then_some((locked, &entry.publisher))
    }

    /// Reports a changed publisher of a requested extension, even if the extension could stay unchanged.
    fn check_publisher(&self, wanted: &Wanted) -> Result<(), Conflict> {
        if wanted.local.is_some() {
            return Ok(());
        }
        let changed = self
            .entries(&wanted.name)
            .into_iter()
            .find_map(|entry| self.changed_publisher(&wanted.name, entry));
        match changed {
            Some((before, now)) => Err(conflict::publisher(&wanted.name, before, now)),
            None => Ok(()),
        }
    }

    fn explain(&self, name: &str, refused: &[(Candidate<'a>, Refusal)]) -> Conflict {
        let empty = Vec::new();
        let needs = self.needs.get(name).unwrap_or(&empty);
        if refused.is_empty() {
            return conflict::nowhere(name, needs);
        }
        let version = |name: &str| self.installed(name).map(|installed| &installed.version);
        // The message is about the best candidate that satisfied all needs.
        match refused.iter().find(|(_, refusal)| !matches!(refusal, Refusal::Need)) {
            Some((_, Refusal::Itself(conflict))) => conflict.clone(),
            Some((candidate, Refusal::Dependency(dependency))) => {
                let mut needs = self.needs.get(dependency).cloned().unwrap_or_default();
                let who = Who::Extension(name.to_owned(), candidate.version.clone());
                needs.push(Need { who, requirement: candidate.dependencies[dependency].clone() });
                conflict::between(dependency, &needs, version(dependency))
            }
            _ => match needs.as_slice() {
                [need] if need.who == Who::You => {
                    let versions: Vec<_> = refused.iter().map(|(candidate, _)| candidate.version).collect();
                    conflict::no_version(name, need, &versions)
                }
                needs => conflict::between(name, needs, version(name)),
            },
        }
    }

    /// Checks for dependency cycles among the chosen extensions and their dependencies.
    fn is_free_of_cycles(&mut self) -> bool {
        let (mut done, mut path) = (BTreeSet::new(), Vec::new());
        for name in self.chosen.keys() {
            if let Some(cycle) = self.find_cycle(name, &mut done, &mut path) {
                self.dead_end.get_or_insert(conflict::cycle(&cycle));
                return false;
            }
        }
        true
    }

    fn dependencies(&self, name: &str) -> Option<&'a BTreeMap<String, VersionReq>> {
        let chosen = self.chosen.get(name).map(|candidate| candidate.dependencies);
        chosen.or_else(|| self.installed(name).map(|installed| &installed.dependencies))
    }

    fn find_cycle(
        &self,
        name: &str,
        done: &mut BTreeSet<String>,
        path: &mut Vec<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = path.iter().position(|passed| passed == name) {
            let mut cycle = path[start..].to_vec();
            cycle.push(name.to_owned());
            return Some(cycle);
        }
        if !done.insert(name.to_owned()) {
            return None;
        }
        path.push(name.to_owned());
        let mut needed = self.dependencies(name).into_iter().flat_map(BTreeMap::keys);
        let found = needed.find_map(|dependency| self.find_cycle(dependency, done, path));
        path.pop();
        found
    }

    fn plan(&self) -> Plan {
        let (mut steps, mut done) = (Vec::new(), BTreeSet::new());
        for name in self.chosen.keys() {
            self.plan_one(name, &mut steps, &mut done);
        }
        Plan { steps }
    }

    /// Adds an extension's dependencies, then the extension itself if it changes.
    fn plan_one(&self, name: &str, steps: &mut Vec<Step>, done: &mut BTreeSet<String>) {
        let Some(candidate) = self.chosen.get(name).filter(|_| done.insert(name.to_owned())) else { return };
        for dependency in candidate.dependencies.keys() {
            self.plan_one(dependency, steps, done);
        }
        let origin = match candidate.from {
            From::Installed(_) => return,
            From::Local(_) => Origin::Local,
            From::Registry(entry) => Origin::Registry(Box::new(entry.clone())),
        };
        let needed_by = self.needs.get(name).into_iter().flatten().filter_map(|need| match &need.who {
            Who::You => None,
            Who::Extension(who, version) => Some(format!("{who} {version}")),
        });
        steps.push(Step {
            name: name.to_owned(),
            version: candidate.version.clone(),
            from: self.installed(name).map(|installed| installed.version.clone()),
            origin,
            needed_by: needed_by.collect(),
        });
    }
}
