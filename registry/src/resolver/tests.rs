//! Tests of the resolver: small inputs in text form, and the expected steps or the message why there are none.

use std::str::FromStr;

use super::*;
use crate::entry::{Archive, Listing};

const TARGET: &str = "here-linux";

/// Parses a package in text form: `webhooks 2.0.0 needs collections >=2 and mail ^1, yanked, abi 2, host >=9, by
/// acme k1`.
fn entry(line: &str) -> Entry {
    let mut parts = line.split(", ");
    let (head, dependencies) = package(parts.next().unwrap());
    let mut entry = Entry {
        registry: "test".to_owned(),
        listing: Listing {
            name: head.0,
            version: head.1,
            target: TARGET.to_owned(),
            abi: 1,
            host: VersionReq::STAR,
            dependencies,
            capabilities: Vec::new(),
            offers: Vec::new(),
            uses: Vec::new(),
            description: String::new(),
            author: String::new(),
            license: String::new(),
            repo_url: String::new(),
            hash: String::new(),
            published_at: String::new(),
            yanked: None,
        },
        publisher: publisher("acme k1"),
        archive: Archive { bytes: 1, sha256: "00".to_owned() },
        revoked: None,
    };
    for part in parts {
        match part.split_once(' ').unwrap_or((part, "")) {
            ("yanked", _) => entry.listing.yanked = Some("a bug".to_owned()),
            ("revoked", _) => entry.revoked = Some("a hole".to_owned()),
            ("abi", abi) => entry.listing.abi = abi.parse().unwrap(),
            ("host", host) => entry.listing.host = host.parse().unwrap(),
            ("target", target) => entry.listing.target = target.to_owned(),
            ("by", by) => entry.publisher = publisher(by),
            other => panic!("{other:?}"),
        }
    }
    entry
}

fn package(text: &str) -> ((String, Version), BTreeMap<String, VersionReq>) {
    let (head, needs) = text.split_once(" needs ").unwrap_or((text, ""));
    let (name, version) = head.split_once(' ').unwrap();
    let pairs = needs.split(" and ").filter(|need| !need.is_empty());
    let dependencies = pairs.map(|need| {
        let (name, requirement) = need.split_once(' ').unwrap_or((need, "*"));
        (name.to_owned(), VersionReq::from_str(requirement).unwrap())
    });
    ((name.to_owned(), version.parse().unwrap()), dependencies.collect())
}

fn publisher(text: &str) -> Publisher {
    let mut words = text.split(' ').map(str::to_owned);
    Publisher { name: words.next().unwrap(), keys: words.collect(), threshold: 1 }
}

/// Parses a wanted extension: `+name` requests the newest version; `./name 1.0.0 needs …` is a local package.
fn wanted(text: &str) -> Wanted {
    if let Some(local) = text.strip_prefix("./") {
        let ((name, version), dependencies) = package(local);
        let requirement = format!("={version}").parse().unwrap();
        let local = Local { version, dependencies, abi: 1, host: VersionReq::STAR, target: None };
        return Wanted { name, requirement, upgrade: true, local: Some(local) };
    }
    let (name, requirement) = text.split_once(' ').unwrap_or((text, "*"));
    Wanted {
        name: name.trim_start_matches('+').to_owned(),
        requirement: requirement.parse().unwrap(),
        upgrade: name.starts_with('+'),
        local: None,
    }
}

struct Case<'a> {
    registries: &'a [&'a [&'a str]],
    installed: &'a [&'a str],
    locked: &'a [&'a str],
    ask: &'a [&'a str],
    expect: &'a str,
}

const NONE: Case<'static> = Case { registries: &[], installed: &[], locked: &[], ask: &[], expect: "" };

fn outcome(case: &Case<'_>, accepted: &[&str]) -> String {
    let entries: Vec<Vec<Entry>> =
        case.registries.iter().map(|lines| lines.iter().map(|line| entry(line)).collect()).collect();
    let revocations = [Revocation {
        name: "rotten".to_owned(),
        version: Version::new(1, 0, 0),
        sha256: None,
        reason: "a hole".to_owned(),
    }];
    let input = ResolverInput {
        installed: case
            .installed
            .iter()
            .map(|line| {
                let ((name, version), dependencies) = package(line);
                Installed { name, version, dependencies, archive_sha256: None }
            })
            .collect(),
        locked: case
            .locked
            .iter()
            .map(|line| {
                let (head, by) = line.split_once(", by ").unwrap_or((line, ""));
                let ((name, version), _) = package(head);
                Locked { name, version, publisher: (!by.is_empty()).then(|| publisher(by)) }
            })
            .collect(),
        registries: entries
            .iter()
            .map(|entries| Catalogue { name: "test", entries, revocations: &revocations })
            .collect(),
        host: Version::new(0, 4, 0),
        abi_majors: vec![0, 1],
        target: TARGET.to_owned(),
    };
    let request = Request {
        wanted: case.ask.iter().map(|text| wanted(text)).collect(),
        accepted_publishers: accepted.iter().map(|name| (*name).to_owned()).collect(),
    };
    match resolve(&request, &input) {
        Ok(plan) => plan.steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        Err(conflict) => format!("{}: {conflict}", conflict.code()),
    }
}

fn check(cases: &[Case<'_>]) {
    for (position, case) in cases.iter().enumerate() {
        assert_eq!(outcome(case, &[]), case.expect, "case {position}, asked for {:?}", case.ask);
    }
}

#[test]
fn the_newest_that_fits_is_taken_with_what_it_needs() {
    let shop: &[&str] = &[
        "webhooks 1.0.0",
        "webhooks 1.2.0 needs collections ^1",
        "webhooks 2.0.0-beta.1",
        "collections 1.4.0",
        "collections 1.5.0",
        "top 1.0.0 needs webhooks and mail",
        "mail 1.0.0 needs collections <1.5",
    ];
    check(&[
        Case { registries: &[shop], ask: &["webhooks"], expect: "collections 1.5.0, webhooks 1.2.0", ..NONE },
        Case { registries: &[shop], ask: &["webhooks =1.0.0"], expect: "webhooks 1.0.0", ..NONE },
        Case {
            registries: &[shop],
            ask: &["webhooks >=2.0.0-beta"],
            expect: "webhooks 2.0.0-beta.1",
            ..NONE
        },
        // mail needs an older collections, which is found by backtracking.
        Case {
            registries: &[shop],
            ask: &["top"],
            expect: "collections 1.4.0, mail 1.0.0, webhooks 1.2.0, top 1.0.0",
            ..NONE
        },
        Case {
            registries: &[shop],
            installed: &["collections 1.4.0"],
            ask: &["webhooks"],
            expect: "webhooks 1.2.0",
            ..NONE
        },
    ]);
}

#[test]
fn what_is_installed_stays_unless_it_must_change() {
    let shop: &[&str] = &[
        "collections 1.4.0",
        "collections 2.0.0",
        "webhooks 2.0.0 needs collections >=2",
        "search 1.0.0 needs collections ^1",
        "search 2.0.0 needs collections ^2",
    ];
    check(&[
        Case {
            registries: &[shop],
            installed: &["collections 1.4.0"],
            ask: &["collections"],
            expect: "",
            ..NONE
        },
        Case {
            registries: &[shop],
            installed: &["collections 1.4.0"],
            ask: &["+collections"],
            expect: "collections 1.4.0 → 2.0.0",
            ..NONE
        },
        Case {
            registries: &[shop],
            installed: &["collections 1.4.0"],
            ask: &["webhooks"],
            expect: "collections 1.4.0 → 2.0.0, webhooks 2.0.0",
            ..NONE
        },
        // search would break, but a newer version of it does not.
        Case {
            registries: &[shop],
            installed: &["collections 1.4.0", "search 1.0.0 needs collections ^1"],
            ask: &["webhooks"],
            expect: "collections 1.4.0 → 2.0.0, search 1.0.0 → 2.0.0, webhooks 2.0.0",
            ..NONE
        },
        // An older version is chosen only if it is requested.
        Case {
            registries: &[shop],
            installed: &["collections 3.0.0"],
            ask: &["+collections"],
            expect: "",
            ..NONE
        },
        Case {
            registries: &[shop],
            installed: &["collections 3.0.0"],
            ask: &["collections ^1"],
            expect: "collections 3.0.0 → 1.4.0",
            ..NONE
        },
        // An unrelated extension that is already broken does not block the plan.
        Case {
            registries: &[shop],
            installed: &["odd 1.0.0 needs gone"],
            ask: &["collections"],
            expect: "collections 2.0.0",
            ..NONE
        },
    ]);
}

#[test]
fn a_conflict_is_a_sentence() {
    let shop: &[&str] = &[
        "collections 1.4.0",
        "collections 2.0.0",
        "webhooks 2.0.0 needs collections >=2",
        "old 1.0.0 needs collections ^1",
        "far 1.0.0 needs collections ^9",
    ];
    let held: &[&str] = &["collections 1.4.0", "search 1.0.0 needs collections ^1"];
    check(&[
        Case {
            registries: &[shop],
            installed: held,
            ask: &["webhooks"],
            expect: "dependency_conflict: webhooks 2.0.0 needs collections >=2, but 1.4.0 is installed and search 1.0.0 needs collections ^1",
            ..NONE
        },
        Case {
            registries: &[shop],
            ask: &["webhooks", "old"],
            expect: "dependency_conflict: webhooks 2.0.0 needs collections >=2, but old 1.0.0 needs collections ^1",
            ..NONE
        },
        Case {
            registries: &[shop],
            installed: held,
            ask: &["collections ^2"],
            expect: "dependency_conflict: you asked for collections ^2, but 1.4.0 is installed and search 1.0.0 needs collections ^1",
            ..NONE
        },
        Case {
            registries: &[shop],
            installed: &["collections 1.4.0"],
            ask: &["far"],
            expect: "dependency_conflict: far 1.0.0 needs collections ^9, but 1.4.0 is installed and no registry has one that fits",
            ..NONE
        },
        Case {
            registries: &[shop],
            ask: &["far"],
            expect: "dependency_conflict: far 1.0.0 needs collections ^9, and no registry has one that fits",
            ..NONE
        },
    ]);
}

#[test]
fn what_is_nowhere_is_named() {
    let shop: &[&str] = &[
        "collections 1.4.0",
        "collections 2.0.0",
        "lost 1.0.0 needs nothing_such ^1",
        "ring_a 1.0.0 needs ring_b",
        "ring_b 1.0.0 needs ring_c",
        "ring_c 1.0.0 needs ring_a",
    ];
    check(&[
        Case {
            registries: &[shop],
            ask: &["lost"],
            expect: "dependency_missing: lost 1.0.0 needs nothing_such ^1, which is neither installed nor in a registry",
            ..NONE
        },
        Case {
            registries: &[shop],
            ask: &["ring_b"],
            expect: "dependency_cycle: extensions need each other in a circle: ring_a → ring_b → ring_c → ring_a",
            ..NONE
        },
        Case {
            registries: &[shop],
            ask: &["x"],
            expect: "unknown_extension: no registry has an extension \"x\"",
            ..NONE
        },
        Case {
            registries: &[shop],
            ask: &["collections ^3"],
            expect: "version_not_found: no version of collections fits ^3; there are: 2.0.0, 1.4.0",
            ..NONE
        },
    ]);
}

#[test]
fn packages_that_do_not_fit_this_host_are_passed_over_or_named() {
    check(&[
        Case { registries: &[&["a 1.0.0", "a 2.0.0, abi 7"]], ask: &["a"], expect: "a 1.0.0", ..NONE },
        Case {
            registries: &[&["a 2.0.0, abi 7"]],
            ask: &["a"],
            expect: "abi_mismatch: a 2.0.0 was built for ABI 7; this host loads ABI 0 and 1",
            ..NONE
        },
        Case {
            registries: &[&["a 2.0.0, host >=9"]],
            ask: &["a"],
            expect: "host_mismatch: a 2.0.0 works with host >=9; this one is 0.4.0",
            ..NONE
        },
        Case {
            registries: &[&["a 2.0.0, target there-linux"]],
            ask: &["a"],
            expect: "target_mismatch: a 2.0.0 is not there for here-linux",
            ..NONE
        },
        Case {
            registries: &[&["a 2.0.0, target there-linux", "a 2.0.0", "a 2.0.0, target zzz-linux"]],
            ask: &["a"],
            expect: "a 2.0.0",
            ..NONE
        },
    ]);
}

#[test]
fn yanked_stays_where_it_is_locked_and_revoked_nowhere() {
    check(&[
        Case { registries: &[&["a 1.0.0", "a 1.1.0, yanked"]], ask: &["a"], expect: "a 1.0.0", ..NONE },
        Case {
            registries: &[&["a 1.1.0, yanked"]],
            ask: &["a"],
            expect: "version_yanked: a 1.1.0 was taken back by its publisher: a bug",
            ..NONE
        },
        Case {
            registries: &[&["a 1.0.0", "a 1.1.0, yanked"]],
            locked: &["a 1.1.0"],
            ask: &["a"],
            expect: "a 1.1.0",
            ..NONE
        },
        Case {
            registries: &[&["a 1.0.0, revoked"]],
            locked: &["a 1.0.0"],
            ask: &["a"],
            expect: "extension_revoked: a 1.0.0 was revoked: a hole",
            ..NONE
        },
        Case {
            registries: &[&["top 1.0.0 needs rotten"]],
            installed: &["rotten 1.0.0"],
            ask: &["top"],
            expect: "extension_revoked: rotten 1.0.0 was revoked: a hole",
            ..NONE
        },
        Case {
            registries: &[&["top 1.0.0 needs rotten", "rotten 1.0.1"]],
            installed: &["rotten 1.0.0"],
            ask: &["top"],
            expect: "rotten 1.0.0 → 1.0.1, top 1.0.0",
            ..NONE
        },
    ]);
}

#[test]
fn an_earlier_registry_is_the_only_one_for_its_names() {
    let registries: &[&[&str]] = &[&["a 1.0.0"], &["a 2.0.0", "b 1.0.0 needs a ^2"]];
    check(&[
        Case { registries, ask: &["a"], expect: "a 1.0.0", ..NONE },
        Case {
            registries,
            ask: &["b"],
            expect: "dependency_conflict: b 1.0.0 needs a ^2, and no registry has one that fits",
            ..NONE
        },
        Case { registries: &[registries[1], registries[0]], ask: &["b"], expect: "a 2.0.0, b 1.0.0", ..NONE },
    ]);
}

#[test]
fn a_changed_publisher_must_be_accepted() {
    let with = |now: &str, ask: &str, accepted: &[&str]| {
        let line = format!("a 2.0.0, by {now}");
        let lines: &[&str] = &[&line];
        let installed: &[&str] = &["a 1.0.0"];
        outcome(
            &Case {
                registries: &[lines],
                installed,
                locked: &["a 1.0.0, by acme k1 k2"],
                ask: &[ask],
                expect: "",
            },
            accepted,
        )
    };
    assert_eq!(with("acme k2 k1", "+a", &[]), "a 1.0.0 → 2.0.0");
    let sentence = with("evil k9", "+a", &[]);
    assert!(
        sentence.starts_with(
            "publisher_changed: a was published by acme (keys k1, k2) and is now by evil (keys k9)"
        ),
        "{sentence}"
    );
    assert!(with("acme k1", "+a", &[]).starts_with("publisher_changed"), "a key less is another publisher");
    assert!(with("evil k9", "a", &[]).starts_with("publisher_changed"), "though it could stay as it is");
    assert_eq!(with("evil k9", "+a", &["a"]), "a 1.0.0 → 2.0.0");
    assert!(with("evil k9", "+a", &["b"]).starts_with("publisher_changed"));
    assert_eq!(with("evil k9", "./a 1.5.0", &[]), "a 1.0.0 → 1.5.0", "a file that is given has no publisher");
}

#[test]
fn a_package_that_is_given_is_held_to_the_same() {
    let shop: &[&str] = &["collections 2.0.0", "a 9.0.0"];
    check(&[
        Case {
            registries: &[shop],
            ask: &["./a 1.0.0 needs collections ^2"],
            expect: "collections 2.0.0, a 1.0.0",
            ..NONE
        },
        Case {
            registries: &[shop],
            ask: &["./a 1.0.0 needs collections ^3"],
            expect: "dependency_conflict: a 1.0.0 needs collections ^3, and no registry has one that fits",
            ..NONE
        },
    ]);
}

#[test]
fn an_entangled_world_ends() {
    let mut lines = Vec::new();
    for name in 0..12 {
        for version in 1..8 {
            lines.push(format!("e{name} {version}.0.0 needs e{} and bottom ^{version}", name + 1));
        }
    }
    lines.push("e12 1.0.0 needs bottom ^9".to_owned());
    lines.push("bottom 1.0.0".to_owned());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let outcome = outcome(&Case { registries: &[&lines], ask: &["e0"], ..NONE }, &[]);
    assert!(outcome.contains("dependency_conflict") || outcome.contains("resolution_too_hard"), "{outcome}");
}
