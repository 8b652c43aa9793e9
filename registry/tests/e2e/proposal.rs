//! Publishing in two steps: neither the publisher nor the operator has the other's keys.

use std::fs;

use crate::site::{Site, fetch, files};

/// Returns a site on which `both`, whose two keys are stored elsewhere, publishes `shared`, with a copy of it.
fn introduced() -> Site {
    let site = Site::new();
    let ids = ["one.pem", "two.pem"].map(|key| {
        let said = site.ok(&["keys", "new", key]);
        said.trim().rsplit(' ').next().unwrap().to_owned()
    });
    site.ok(&["propose", "first", "--publisher", "both", "--publisher-key", "one.pem"]);
    let delegate =
        ["delegate", "r", "shared", "--publisher", "both", "--proposal", "first", "--threshold", "2"];
    assert!(site.fails(&delegate).contains("2 signatures cannot be asked of 1 keys"));
    site.ok(&["cosign", "first", "--publisher-key", "two.pem"]);
    let said = site.ok(&delegate);
    for id in ids {
        assert!(said.contains(&format!("signs with the key {id}: ask them")), "{said}");
    }
    site.copy("r", "copy");
    site
}

fn propose(site: &Site, out: &str, version: &str, content: &str) {
    let archive = site.pack("shared", version, content);
    let keys = ["--publisher", "both", "--publisher-key", "one.pem", "--copy", "copy"];
    site.ok(&[&["propose", out, archive.to_str().unwrap()], &keys[..]].concat());
}

#[tokio::test]
async fn a_proposal_is_published_as_it_was_signed() {
    let site = introduced();
    propose(&site, "second", "1.0.0", "x");
    assert!(site.fails(&["accept", "r", "second"]).contains("signature_invalid"), "one of two keys");
    site.ok(&["cosign", "second", "--publisher-key", "two.pem"]);
    assert_eq!(site.ok(&["accept", "r", "second"]).matches("published shared-1.0.0").count(), 1);
    let registry = site.open("known").await.unwrap();
    let publisher = &registry.entries()[0].publisher;
    assert_eq!((publisher.name.as_str(), publisher.keys.len(), publisher.threshold), ("both", 2, 2));
    fetch(&site, &registry, "shared").await.unwrap();
    // The next proposal builds on it; the same one is rejected.
    assert!(site.fails(&["accept", "r", "second"]).contains("make it of a copy of today"));
    site.copy("r", "copy");
    propose(&site, "third", "1.1.0", "x");
    site.ok(&["cosign", "third", "--publisher-key", "two.pem"]);
    site.ok(&["accept", "r", "third"]);
    assert_eq!(site.open("known").await.unwrap().entries().len(), 2);
    site.ok(&["verify", "r"]);
}

#[tokio::test]
async fn what_was_not_signed_is_not_published() {
    let site = introduced();
    let before = fs::read(site.path("r/metadata/timestamp.json")).unwrap();
    propose(&site, "second", "1.0.0", "x");
    site.ok(&["cosign", "second", "--publisher-key", "two.pem"]);
    site.copy("second", "kept");
    let archive =
        files(&site.path("second")).into_iter().find(|path| path.to_str().unwrap().ends_with(".tbx"));
    let archive = archive.unwrap();
    // Another package in its place, a missing one, and an edited list.
    fs::copy(site.pack("shared", "1.0.0", "other"), &archive).unwrap();
    assert!(site.fails(&["accept", "r", "second"]).contains("entry_differs"));
    fs::remove_file(&archive).unwrap();
    assert!(site.fails(&["accept", "r", "second"]).contains("archive_io"));
    site.copy("kept", "second");
    let role = site.path("second/role.json");
    let text = fs::read_to_string(&role).unwrap();
    fs::write(&role, text.replace("\"abi\": 1", "\"abi\": 0")).unwrap();
    assert!(site.fails(&["accept", "r", "second"]).contains("signature_invalid"));
    // A name that belongs to another publisher.
    let archive = site.pack("notes", "9.0.0", "x");
    let arguments =
        ["--publisher", "both", "--publisher-key", "one.pem", "--publisher-key", "two.pem", "--copy", "copy"];
    site.ok(&[&["propose", "theft", archive.to_str().unwrap()], &arguments[..]].concat());
    assert!(site.fails(&["accept", "r", "theft"]).contains("wrong_role"));
    assert!(
        site.fails(&["delegate", "r", "x", "--publisher", "both", "--proposal", "theft"]).contains("rotate")
    );
    assert_eq!(fs::read(site.path("r/metadata/timestamp.json")).unwrap(), before);
    assert!(files(&site.path("r/targets")).is_empty(), "nothing is left of what was refused");
    assert!(
        site.fails(&["propose", "x", "--publisher", "both", "--publisher-key", "r/root.json"])
            .contains("registry_key")
    );
}
