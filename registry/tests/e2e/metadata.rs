//! Metadata that was changed, is old or has expired: it is always rejected, and the known state is kept.

use std::fs;

use tinybase_registry::{Limits, Registry, Source};

use crate::site::{Site, files};

/// Returns the codes with which a new client and an existing client reject the registry. A client with the newest root
/// does not fetch it again.
async fn refused(site: &Site, is_root: bool) -> Vec<&'static str> {
    let fresh = tempfile::tempdir().unwrap();
    let mut codes = vec![site.refused(fresh.path().to_str().unwrap()).await];
    if !is_root {
        codes.push(site.refused("known").await);
    }
    codes
}

#[tokio::test]
async fn a_flipped_bit_in_any_metadata_is_refused() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    site.ok(&["revoke", "r", "notes", "0.1.0", "--reason", "a hole"]);
    site.ok(&["rotate", "r", "root"]);
    site.open("known").await.unwrap();
    let newest = |role: &str| format!("{}.{role}.json", crate::forge::newest(&site, role).0);
    let mut names: Vec<_> = ["root", "snapshot", "targets", "acme", "evil"].map(newest).into();
    names.push("timestamp.json".to_owned());
    let mut paths: Vec<_> = names.iter().map(|name| site.path("r/metadata").join(name)).collect();
    paths.push(site.stored("revoked.json"));
    for path in paths {
        let good = fs::read(&path).unwrap();
        // The type of metadata is not checked, since the client knows which file it requested.
        let text = String::from_utf8(good.clone()).unwrap();
        let kind = text.find("\"_type\": \"").map_or(0..0, |at| at + 10..at + 20);
        let positions = (0..good.len()).step_by(11).chain([good.len() - 2]);
        for position in positions.filter(|position| !kind.contains(position)) {
            let mut bad = good.clone();
            bad[position] ^= 1;
            fs::write(&path, bad).unwrap();
            let codes = refused(&site, path.ends_with(&names[0])).await;
            let is_refused =
                codes.iter().all(|code| ["metadata_invalid", "signature_invalid"].contains(code));
            assert!(is_refused, "{}, byte {position}: {codes:?}", path.display());
        }
        fs::write(&path, &good).unwrap();
    }
    assert_eq!(site.refused("known").await, "opened");
}

#[tokio::test]
async fn what_has_expired_is_refused_unless_that_is_configured() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    for role in ["timestamp", "snapshot", "targets", "publisher"] {
        let option = format!("--{role}-expires");
        site.ok(&["refresh", "r", "--all", &option, "0s"]);
        let error = site.open("known").await.unwrap_err();
        assert_eq!(error.code(), "metadata_expired", "{role}");
        assert!(error.to_string().contains("has not renewed it"), "{error}");
        assert!(site.fails(&["verify", "r"]).contains("metadata_expired"));
        let careless = Source { allow_expired: true, ..site.source("r") };
        let registry = Registry::open(&careless, &site.path("careless"), &Limits::default()).await.unwrap();
        assert_eq!(registry.entries().len(), 1);
    }
    site.ok(&["rotate", "r", "root", "--root-expires", "0s"]);
    assert_eq!(site.refused("known").await, "metadata_expired");
    site.ok(&["rotate", "r", "root"]);
    site.ok(&["refresh", "r", "--all"]);
    assert_eq!(site.refused("known").await, "opened");
}

#[tokio::test]
async fn older_metadata_that_is_served_again_is_refused() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    site.copy("r", "old");
    site.publish("notes", "0.2.0");
    assert_eq!(site.open("known").await.unwrap().entries().len(), 2);
    site.copy("r", "new");
    site.copy("old", "r");
    let error = site.open("known").await.unwrap_err();
    assert_eq!(error.code(), "rollback_detected", "{error}");
    assert_eq!(site.refused("fresh").await, "opened", "who never saw the newer one cannot know");
    // An older snapshot under a newer timestamp, which anyone with the timestamp's key can create.
    site.copy("new", "r");
    let old_snapshot = fs::read(
        site.path("old/metadata")
            .join(format!("{}.snapshot.json", crate::forge::newest(&site, "snapshot").0 - 1)),
    );
    let newest =
        site.path("r/metadata").join(format!("{}.snapshot.json", crate::forge::newest(&site, "snapshot").0));
    fs::write(newest, old_snapshot.unwrap()).unwrap();
    assert_eq!(site.refused("known").await, "metadata_invalid");
    site.copy("new", "r");
    assert_eq!(site.refused("known").await, "opened");
}

#[tokio::test]
async fn an_older_root_that_is_served_again_brings_its_keys_back_for_nobody() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    site.copy("r", "old");
    site.ok(&["rotate", "r", "timestamp"]);
    site.open("known").await.unwrap();
    site.copy("old", "r");
    // The old timestamp is signed with a replaced key. It would be valid for a client that starts with the
    // configured root.
    assert_eq!(site.refused("known").await, "signature_invalid");
    assert_eq!(site.refused("fresh").await, "opened");
}

#[tokio::test]
async fn what_is_known_survives_and_is_tidy() {
    let site = Site::new();
    for version in ["0.1.0", "0.2.0", "0.3.0"] {
        site.publish("notes", version);
        site.open("known").await.unwrap();
    }
    let names = |folder: &str| {
        let paths = files(&site.path(folder)).into_iter();
        paths.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("known/metadata"), ["latest_known_time.json", "snapshot.json", "timestamp.json"]);
    assert_eq!(names("known"), ["lock", "metadata", "trusted-root.json"]);
    fs::write(site.path("known/trusted-root.json"), "{").unwrap();
    let error = site.open("known").await.unwrap_err();
    assert_eq!(error.code(), "registry_datastore");
    assert!(error.to_string().contains("remove it to begin again"), "{error}");
    // A new root of trust resets the state automatically.
    let other = Site::new();
    fs::remove_file(site.path("known/trusted-root.json")).unwrap();
    site.open("known").await.unwrap();
    let swapped =
        Source { root: other.root.clone(), location: other.source("r").location, ..site.source("r") };
    Registry::open(&swapped, &site.path("known"), &Limits::default()).await.unwrap();
    let untrusted = Source { root: b"{}".to_vec(), ..site.source("r") };
    let error = Registry::open(&untrusted, &site.path("known"), &Limits::default()).await.unwrap_err();
    assert_eq!(error.code(), "root_invalid");
}

#[tokio::test]
async fn a_clock_that_went_back_is_said() {
    let site = Site::new();
    site.open("known").await.unwrap();
    fs::write(site.path("known/metadata/latest_known_time.json"), "\"2999-01-01T00:00:00Z\"").unwrap();
    assert_eq!(site.refused("known").await, "clock_went_back");
}

#[tokio::test]
async fn what_is_known_is_used_by_one_at_a_time() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    let opened = futures_util::future::join_all((0..8).map(|_| site.open("known"))).await;
    assert!(opened.into_iter().all(|registry| registry.is_ok_and(|registry| registry.entries().len() == 1)));
}
