//! Copies: over HTTP, by hand to a place without a network, and updated.

use std::fs;

use tinybase_registry::{Limits, Registry};

use crate::site::{Site, fetch, files};

#[tokio::test]
async fn a_copy_is_the_same_bytes_and_follows() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    site.ok(&["revoke", "r", "chat", "9.0.0", "--reason", "never was"]);
    fs::write(site.path("first.json"), &site.root).unwrap();
    let served = site.serve();
    let said = site.ok(&["mirror", &served.url, "copy", "--root", "first.json"]);
    assert!(said.contains("1 packages were fetched"), "{said}");
    for (whose, version) in [("root", "0.2.0"), ("snapshot", "0.3.0")] {
        site.ok(&["rotate", "r", whose]);
        site.publish("notes", version);
        let said = site.ok(&["mirror", &served.url, "copy"]);
        assert!(said.contains("1 packages were fetched"), "{said}");
        same_newest(&site);
    }
    // For a place without a network, the folder is enough.
    drop(served);
    site.copy("copy", "stick");
    fs::remove_dir_all(site.path("r")).unwrap();
    fs::remove_dir_all(site.path("copy")).unwrap();
    let registry =
        Registry::open(&site.source("stick"), &site.path("known"), &Limits::default()).await.unwrap();
    assert_eq!((registry.entries().len(), registry.revocations().len()), (3, 1));
    fetch(&site, &registry, "notes").await.unwrap();
    site.ok(&["verify", "stick"]);
}

/// Checks that every file of the copy has the same bytes in the registry.
fn same_newest(site: &Site) {
    for folder in ["metadata", "targets"] {
        for path in files(&site.path("copy").join(folder)) {
            let original = site.path("r").join(folder).join(path.file_name().unwrap());
            assert_eq!(fs::read(&path).unwrap(), fs::read(&original).unwrap(), "{}", path.display());
        }
    }
    assert_eq!(fs::read(site.path("copy/root.json")).unwrap(), fs::read(site.path("r/root.json")).unwrap());
}

#[tokio::test]
async fn what_is_not_as_it_was_signed_is_not_copied() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    fs::write(site.path("first.json"), &site.root).unwrap();
    site.ok(&["mirror", "r", "copy", "--root", "first.json"]);
    site.publish("notes", "0.2.0");
    let stored = site.stored("notes-0.2.0");
    let good = fs::read(&stored).unwrap();
    fs::write(&stored, [&good[..good.len() - 1], b"x"].concat()).unwrap();
    assert!(site.fails(&["mirror", "r", "copy"]).contains("hash_mismatch"));
    let copy = Registry::open(&site.source("copy"), &site.path("known"), &Limits::default()).await.unwrap();
    assert_eq!(copy.entries().len(), 1, "the copy is as it was");
    fs::write(&stored, good).unwrap();
    site.ok(&["mirror", "r", "copy"]);
    // A registry with another root is not an update.
    let other = Site::new();
    assert!(site.fails(&["mirror", other.path("r").to_str().unwrap(), "copy"]).contains("signature_invalid"));
}

#[test]
fn a_full_disk_leaves_the_copy_as_it_was() {
    let site = Site::new();
    site.publish("notes", "0.1.0");
    fs::write(site.path("first.json"), &site.root).unwrap();
    site.ok(&["mirror", "r", "copy", "--root", "first.json"]);
    let before = fs::read(site.path("copy/metadata/timestamp.json")).unwrap();
    let big = site.pack("notes", "0.2.0", &"0123456789abcdef".repeat(40).replace('7', &"z".repeat(300)));
    site.ok(&["publish", "r", big.to_str().unwrap()]);
    let mut was_refused = 0;
    for kilobytes in 0..64 {
        let output = site.tool_on_full_disk(kilobytes, &["mirror", "r", "copy"]);
        if output.status.success() {
            break;
        }
        was_refused += 1;
        assert_eq!(fs::read(site.path("copy/metadata/timestamp.json")).unwrap(), before, "{kilobytes}");
        assert!(site.ok(&["verify", "copy"]).starts_with("1 packages"), "{kilobytes}");
    }
    assert!(was_refused > 1, "{was_refused}");
    assert!(site.ok(&["verify", "copy"]).starts_with("2 packages"));
}
