//! The client with an intact registry, and with misbehaving servers.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use tinybase_package::archive;
use tinybase_registry::{Limits, Registry, RegistryError};

use crate::{
    server::{Behaviour, Misbehaving},
    site::{Site, fetch},
};

#[tokio::test]
async fn what_is_published_is_listed_fetched_and_unpacked() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    site.publish("notes", "0.2.0");
    site.publish("chat", "1.0.0");
    let served = site.serve();
    for location in ["r", &served.url] {
        let known = site.path(&format!("known-{}", location.len()));
        let registry = Registry::open(&site.source(location), &known, &Limits::default()).await.unwrap();
        let listed: Vec<_> = registry
            .entries()
            .iter()
            .map(|entry| format!("{} {}", entry.listing.name, entry.listing.version))
            .collect();
        assert_eq!(listed, ["chat 1.0.0", "notes 0.2.0", "notes 0.1.0"]);
        let entry = registry.entry("notes", &"0.2.0".parse().unwrap(), archive::HOST_TARGET).unwrap();
        assert_eq!((entry.publisher.name.as_str(), entry.publisher.keys.len()), ("acme", 1));
        assert_eq!(entry.listing.dependencies["collections"].to_string(), "^1");
        assert_eq!(
            (entry.listing.abi, entry.listing.capabilities.as_slice()),
            (1, &["database".to_owned()][..])
        );
        let into = tempfile::tempdir().unwrap();
        let (done, total) = (AtomicU64::new(0), AtomicU64::new(0));
        let progress = |now, of| {
            done.store(now, Ordering::Relaxed);
            total.store(of, Ordering::Relaxed);
        };
        let path = registry.fetch(entry, into.path(), &progress).await.unwrap();
        let length = fs::metadata(&path).unwrap().len();
        assert_eq!((done.into_inner(), total.into_inner()), (length, length));
        let unpacked =
            archive::unpack(&path, &into.path().join("unpacked"), &archive::Limits::default()).unwrap();
        entry.check(&unpacked).unwrap();
        assert_eq!(unpacked.hash, entry.listing.hash);
        let other = registry.entry("notes", &"0.1.0".parse().unwrap(), archive::HOST_TARGET).unwrap();
        assert_eq!(other.check(&unpacked).unwrap_err().code(), "entry_differs");
        let unknown = registry.entry("notes", &"0.3.0".parse().unwrap(), archive::HOST_TARGET).unwrap_err();
        assert_eq!(unknown.code(), "unknown_extension");
    }
}

#[tokio::test]
async fn an_archive_that_is_not_the_signed_one_is_refused() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    let registry = site.open("known").await.unwrap();
    let stored = site.stored("notes");
    let good = fs::read(&stored).unwrap();
    for (position, bit) in [(0, 0), (good.len() / 2, 3), (good.len() - 1, 7)] {
        let mut bad = good.clone();
        bad[position] ^= 1 << bit;
        fs::write(&stored, bad).unwrap();
        assert_eq!(fetch(&site, &registry, "notes").await.unwrap_err().code(), "hash_mismatch");
    }
    fs::write(&stored, &good[..good.len() - 1]).unwrap();
    assert_eq!(fetch(&site, &registry, "notes").await.unwrap_err().code(), "hash_mismatch");
    fs::write(&stored, [good.clone(), vec![0]].concat()).unwrap();
    assert_eq!(fetch(&site, &registry, "notes").await.unwrap_err().code(), "archive_too_large");
    fs::remove_file(&stored).unwrap();
    assert_eq!(fetch(&site, &registry, "notes").await.unwrap_err().code(), "registry_unreachable");
    fs::write(&stored, &good).unwrap();
    assert_eq!(fs::read(fetch(&site, &registry, "notes").await.unwrap()).unwrap(), good);
    let limits = Limits { archive_bytes_max: good.len() as u64 - 1, ..Limits::default() };
    let registry = Registry::open(&site.source("r"), &site.path("known"), &limits).await.unwrap();
    assert_eq!(fetch(&site, &registry, "notes").await.unwrap_err().code(), "archive_too_large");
}

/// Returns limits short enough to wait for in the tests that need them, and otherwise long enough for a busy
/// machine.
fn limits(behaviour: Behaviour, of: Part) -> Limits {
    let mut limits = Limits::default();
    match (behaviour, of) {
        (Behaviour::Silent, _) => limits.read_timeout_ms = 1000,
        (Behaviour::Drip, Part::Metadata) => limits.metadata_timeout_ms = 1500,
        (Behaviour::Drip, Part::Archive) => limits.archive_timeout_ms = 1500,
        _ => {}
    }
    limits
}

/// The files for which the server misbehaves.
#[derive(Clone, Copy)]
enum Part {
    Metadata,
    Archive,
}

async fn code_of_open(site: &Site, server: &Misbehaving, limits: &Limits) -> &'static str {
    let known = tempfile::tempdir().unwrap();
    match Registry::open(&site.source(&server.url), known.path(), limits).await {
        Ok(_) => "opened",
        Err(error) => error.code(),
    }
}

/// For each behaviour: the expected code for metadata, and for an archive.
const BEHAVIOURS: [(Behaviour, &str, &str); 10] = [
    (Behaviour::Serve, "opened", "fetched"),
    (Behaviour::Silent, "registry_timeout", "registry_timeout"),
    (Behaviour::Drip, "registry_timeout", "registry_timeout"),
    (Behaviour::Partial, "registry_unreachable", "registry_unreachable"),
    (Behaviour::Status(500), "registry_status", "registry_status"),
    (Behaviour::Status(404), "registry_status", "registry_status"),
    (Behaviour::RedirectElsewhere, "registry_redirect", "registry_redirect"),
    (Behaviour::RedirectWithin, "opened", "fetched"),
    (Behaviour::RedirectForEver, "registry_redirect", "registry_redirect"),
    (Behaviour::Endless, "metadata_too_large", "archive_too_large"),
];

#[tokio::test]
async fn each_way_to_misbehave_has_its_code() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    for (behaviour, on_metadata, on_archive) in BEHAVIOURS {
        for file in ["timestamp.json", ".snapshot.json", ".targets.json", ".acme.json"] {
            let server = Misbehaving::new(&site.path("r"), file, behaviour);
            let code = code_of_open(&site, &server, &limits(behaviour, Part::Metadata)).await;
            assert_eq!(code, on_metadata, "{behaviour:?} for {file}");
        }
        let server = Misbehaving::new(&site.path("r"), ".tbx", behaviour);
        let known = tempfile::tempdir().unwrap();
        let limits = limits(behaviour, Part::Archive);
        let registry = Registry::open(&site.source(&server.url), known.path(), &limits).await.unwrap();
        let fetched = fetch(&site, &registry, "notes").await;
        assert_eq!(fetched.map_or_else(|error| error.code(), |_| "fetched"), on_archive, "{behaviour:?}");
    }
}

#[tokio::test]
async fn a_registry_in_trouble_is_not_one_without_a_newer_root() {
    let site = Site::new();
    for (behaviour, expected) in [
        (Behaviour::Status(404), "opened"),
        (Behaviour::Status(403), "opened"),
        (Behaviour::Status(500), "registry_status"),
        (Behaviour::RedirectElsewhere, "registry_redirect"),
        (Behaviour::Silent, "registry_timeout"),
    ] {
        let server = Misbehaving::new(&site.path("r"), ".root.json", behaviour);
        let code = code_of_open(&site, &server, &limits(behaviour, Part::Metadata)).await;
        assert_eq!(code, expected, "{behaviour:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_said() {
    let site = Site::new();
    let url = Misbehaving::new(&site.path("r"), "none", Behaviour::Serve).url.clone();
    let error =
        Registry::open(&site.source(&url), &site.path("known"), &Limits::default()).await.unwrap_err();
    assert_eq!(error.code(), "registry_unreachable");
    let words = error.to_string();
    assert!(words.contains("the registry \"test\"") && words.contains("refused"), "{words}");
    let error: RegistryError =
        Registry::open(&site.source("nowhere"), &site.path("known"), &Limits::default()).await.unwrap_err();
    assert_eq!(error.code(), "registry_unreachable");
}
