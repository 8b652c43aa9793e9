//! Who may sign what: roles, thresholds, rotated keys, and changed publishers.

use std::{collections::BTreeSet, fs};

use semver::Version;
use tinybase_package::archive;
use tinybase_registry::{
    Registry, RegistryError,
    resolver::{Catalogue, Locked, Request, ResolverInput, Wanted, resolve},
};

use crate::{
    forge::{forge, newest},
    site::{Site, files},
};

/// Opens the registry as a new client.
async fn open_fresh(site: &Site) -> Result<Registry, RegistryError> {
    let known = tempfile::tempdir().unwrap();
    site.open(known.path().to_str().unwrap()).await
}

async fn refused(site: &Site) -> &'static str {
    open_fresh(site).await.map_or_else(|error| error.code(), |_| "opened")
}

#[tokio::test]
async fn a_package_that_the_wrong_role_lists_is_refused() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    site.publish("evil", "0.1.0");
    site.copy("r", "good");
    let acme = newest(&site, "acme").1["signed"]["targets"].clone();
    // The package that acme lists too, then another version of it.
    let name = format!("notes-0.1.0-{}.tbx", archive::HOST_TARGET);
    let higher = name.replace("0.1.0", "9.0.0");
    for as_name in [&name, &higher] {
        site.copy("good", "r");
        forge(&site, "evil", "r-keys/publishers/evil.pem", |role| {
            role["targets"][as_name] = acme[&name].clone()
        });
        assert_eq!(refused(&site).await, "wrong_role", "{as_name}");
    }
    // The registry's own role must not publish.
    site.copy("good", "r");
    forge(&site, "targets", "r-keys/targets.pem", |role| role["targets"][&higher] = acme[&name].clone());
    assert_eq!(refused(&site).await, "wrong_role");
    // acme's role signed with evil's key.
    site.copy("good", "r");
    forge(&site, "acme", "r-keys/publishers/evil.pem", |role| role["targets"][&higher] = acme[&name].clone());
    assert_eq!(refused(&site).await, "signature_invalid");
    site.copy("good", "r");
    assert_eq!(refused(&site).await, "opened");
}

#[tokio::test]
async fn delegations_that_no_tool_makes_are_refused() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    site.copy("r", "good");
    let paths = |role: &mut serde_json::Value, position: usize, paths: &[&str]| {
        role["delegations"]["roles"][position]["paths"] = serde_json::json!(paths);
    };
    let cases: [&dyn Fn(&mut serde_json::Value); 3] =
        [&|role| paths(role, 1, &["*"]), &|role| paths(role, 1, &["notes-*"]), &|role| {
            paths(role, 0, &["notes*", "chat-*"])
        }];
    for (position, case) in cases.iter().enumerate() {
        site.copy("good", "r");
        forge(&site, "targets", "r-keys/targets.pem", case);
        assert_eq!(refused(&site).await, "metadata_invalid", "case {position}");
    }
    let delegations = newest(&site, "targets").1["signed"]["delegations"].clone();
    site.copy("good", "r");
    forge(&site, "evil", "r-keys/publishers/evil.pem", |role| role["delegations"] = delegations);
    assert_ne!(refused(&site).await, "opened", "a publisher does not delegate");
    // Entries that this version cannot interpret are left out and reported.
    site.copy("good", "r");
    forge(&site, "acme", "r-keys/publishers/acme.pem", |role| {
        for target in role["targets"].as_object_mut().unwrap().values_mut() {
            target["custom"]["tinybase"]["abi"] = "new".into();
        }
    });
    let registry = open_fresh(&site).await.unwrap();
    assert_eq!((registry.entries().len(), registry.unreadable().len()), (0, 1));
}

#[tokio::test]
async fn rotated_keys_are_followed_from_the_first_root() {
    let site = Site::with(&["--root-count", "3", "--root-threshold", "2"]);
    site.publish("notes", "0.1.0");
    site.open("known").await.unwrap();
    for whose in ["root", "timestamp", "snapshot", "targets", "root"] {
        site.ok(&["rotate", "r", whose]);
    }
    site.publish("notes", "0.2.0");
    for known in ["known", "fresh"] {
        let registry = site.open(known).await.unwrap();
        assert_eq!(registry.entries().len(), 2, "{known}");
    }
    assert_eq!(newest(&site, "root").0, 6);
    // Replaced keys can no longer sign.
    let old: BTreeSet<_> = ["r-keys/root", "r-keys"].map(|folder| site.path(folder)).into();
    assert!(old.iter().all(|folder| folder.exists()));
    fs::rename(site.path("r-keys/timestamp-2.pem"), site.path("timestamp-2")).unwrap();
    assert!(site.fails(&["refresh", "r"]).contains("threshold_not_met"));
}

#[tokio::test]
async fn too_few_signatures_are_refused_by_tool_and_client() {
    let site = Site::with(&["--root-count", "2", "--root-threshold", "2"]);
    site.publish("notes", "0.1.0");
    fs::rename(site.path("r-keys/root/root-2.pem"), site.path("elsewhere.pem")).unwrap();
    let before = newest(&site, "root").0;
    assert!(site.fails(&["rotate", "r", "root"]).contains("threshold_not_met"));
    assert_eq!(newest(&site, "root").0, before, "a change that is refused leaves nothing");
    assert_eq!(files(&site.path("r-keys/root")).len(), 1, "nor keys that sign for nothing");
    site.ok(&["rotate", "r", "root", "--key", "elsewhere.pem"]);
    site.open("known").await.unwrap();
    let (version, mut root) = newest(&site, "root");
    root["signatures"]
        .as_array_mut()
        .unwrap()
        .retain(|signature| signature["keyid"] != root_key(&site, "r-keys/root/root-1.pem"));
    let path = site.path(&format!("r/metadata/{version}.root.json"));
    fs::write(path, serde_json::to_vec(&root).unwrap()).unwrap();
    let error = open_fresh(&site).await.unwrap_err();
    assert_eq!(error.code(), "signature_invalid");
    assert!(error.to_string().contains("threshold of 2 not met"), "{error}");
}

fn root_key(site: &Site, path: &str) -> String {
    tinybase_registry::repository::keys::KeyFile::read(&site.path(path)).unwrap().id
}

#[tokio::test]
async fn a_publisher_with_a_threshold_signs_with_enough_keys() {
    let site = Site::new();
    for name in ["one", "two"] {
        site.ok(&["keys", "new", &format!("{name}.pem")]);
    }
    let given = ["--publisher-key", "one.pem", "--publisher-key", "two.pem"];
    site.ok(&[&["delegate", "r", "shared", "--publisher", "both", "--threshold", "2"], &given[..]].concat());
    let archive = site.pack("shared", "1.0.0", "x");
    let publish = ["publish", "r", archive.to_str().unwrap()];
    assert!(site.fails(&[&publish[..], &given[..2]].concat()).contains("threshold_not_met"));
    site.ok(&[&publish[..], &given[..]].concat());
    let registry = site.open("known").await.unwrap();
    let publisher = &registry.entries()[0].publisher;
    assert_eq!((publisher.keys.len(), publisher.threshold), (2, 2));
}

fn resolved(registry: &Registry, locked: Option<Locked>, accepted: bool) -> String {
    let input = ResolverInput {
        installed: Vec::new(),
        locked: locked.into_iter().collect(),
        registries: vec![Catalogue::from(registry)],
        host: Version::new(0, 4, 0),
        abi_majors: vec![1],
        target: archive::HOST_TARGET.to_owned(),
    };
    let wanted =
        Wanted { name: "chat".to_owned(), requirement: "*".parse().unwrap(), upgrade: true, local: None };
    let accepted_publishers = accepted.then(|| "chat".to_owned()).into_iter().collect();
    match resolve(&Request { wanted: vec![wanted], accepted_publishers }, &input) {
        Ok(plan) => plan.steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        Err(conflict) => conflict.code().to_owned(),
    }
}

/// Publishes an extension without dependencies.
fn publish_chat(site: &Site, version: &str) {
    let folder = site.path(&format!("chat-{version}"));
    fs::create_dir_all(&folder).unwrap();
    let manifest = format!("name = \"chat\"\nversion = \"{version}\"\nabi = 1\n");
    fs::write(folder.join("libtinybase_chat.so"), &manifest).unwrap();
    fs::write(folder.join("extension.toml"), manifest).unwrap();
    let archive = archive::pack(&folder, archive::HOST_TARGET, &site.path("")).unwrap();
    site.ok(&["publish", "r", archive.to_str().unwrap()]);
}

#[tokio::test]
async fn a_changed_publisher_key_asks_again() {
    let site = Site::new();
    publish_chat(&site, "1.0.0");
    let registry = site.open("known").await.unwrap();
    let entry = &registry.entries()[0];
    let locked = Locked {
        name: "chat".to_owned(),
        version: entry.listing.version.clone(),
        publisher: Some(entry.publisher.clone()),
    };
    assert_eq!(resolved(&registry, Some(locked.clone()), false), "chat 1.0.0");
    site.ok(&["rotate", "r", "publisher", "acme"]);
    let registry = site.open("known").await.unwrap();
    assert_ne!(registry.entries()[0].publisher, entry.publisher);
    assert_eq!(resolved(&registry, Some(locked.clone()), false), "publisher_changed");
    assert_eq!(resolved(&registry, Some(locked), true), "chat 1.0.0");
    assert_eq!(resolved(&registry, None, false), "chat 1.0.0");
    fs::rename(site.path("r-keys/publishers/acme-2.pem"), site.path("new.pem")).unwrap();
    publish_fails_with_the_old_key(&site);
}

fn publish_fails_with_the_old_key(site: &Site) {
    let archive = site.pack("notes", "0.1.0", "x");
    assert!(site.fails(&["publish", "r", archive.to_str().unwrap()]).contains("threshold_not_met"));
    site.ok(&["publish", "r", archive.to_str().unwrap(), "--publisher-key", "new.pem"]);
}

#[tokio::test]
async fn yanked_and_revoked_versions_are_marked() {
    let site = Site::new();
    publish_chat(&site, "1.0.0");
    publish_chat(&site, "1.1.0");
    site.ok(&["yank", "r", "chat", "1.1.0", "--reason", "a bug"]);
    let registry = site.open("known").await.unwrap();
    let states: Vec<_> =
        registry.entries().iter().map(|entry| (&entry.listing.yanked, &entry.revoked)).collect();
    assert_eq!(states, [(&Some("a bug".to_owned()), &None), (&None, &None)]);
    assert_eq!(resolved(&registry, None, false), "chat 1.0.0");
    let locked = Locked { name: "chat".to_owned(), version: Version::new(1, 1, 0), publisher: None };
    assert_eq!(resolved(&registry, Some(locked.clone()), false), "chat 1.1.0");
    site.ok(&["revoke", "r", "chat", "1.0.0", "--reason", "a hole"]);
    let registry = site.open("known").await.unwrap();
    assert_eq!(registry.revocations().len(), 1);
    assert_eq!(registry.entries()[1].revoked.as_deref(), Some("a hole"));
    assert_eq!(resolved(&registry, None, false), "version_yanked");
    site.ok(&["revoke", "r", "chat", "1.1.0", "--reason", "another hole"]);
    let registry = site.open("known").await.unwrap();
    assert_eq!(resolved(&registry, Some(locked), false), "extension_revoked");
    site.ok(&["yank", "r", "chat", "1.1.0", "--undo"]);
    assert_eq!(registry.entries().len(), 2, "what is revoked stays listed, so that it can be named");
}
