//! Names and paths of another extension: the second one to use them is refused, and changes nothing.

use std::fs;

use tinybase_tests::{Site, fixtures, site::Ran};

use super::{change, install, pulse_version};

/// Tries to install `neighbour` under another name. Its library still has the old one, which is checked last.
fn install_as(site: &Site, name: &str) -> Ran {
    let package = fixtures::stress("neighbour", site.packages());
    let manifest = package.join("extension.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("name = \"neighbour\"", &format!("name = \"{name}\""))).unwrap();
    site.install(&package)
}

#[track_caller]
fn is_refused(ran: &Ran, words: &str) {
    assert!(ran.code == Some(1) && ran.errors.contains(words), "{words:?} is not in {ran:?}");
}

#[test]
fn tables_are_never_shared_by_a_name_that_begins_like_another() {
    let site = Site::new();
    install(&site, "pulse");
    let server = site.serve();
    let words = "its tables would begin like those of the extension pulse";
    is_refused(&install_as(&site, "pulse_more"), words);
    assert_eq!(site.sql("SELECT count(*) FROM tb_extensions WHERE name = 'pulse_more'"), "0");
    assert_eq!(pulse_version(&server.client()), "0.1.0");
    // Uninstalling has left its tables behind.
    site.done(&["extensions", "uninstall", "pulse", "--yes"]);
    is_refused(&install_as(&site, "pulse_more"), words);
    install(&site, "pulse");
    site.done(&["extensions", "uninstall", "pulse", "--purge", "--yes"]);
    is_refused(&install_as(&site, "pulse_more"), "manifest_differs");
}

#[test]
fn a_path_belongs_to_whoever_had_it_first() {
    for (first, second) in [("neighbour", "squatter"), ("squatter", "neighbour")] {
        let site = Site::new();
        install(&site, first);
        let server = site.serve();
        let words = format!("of the extension {first}");
        is_refused(&change(&site, second), &words);
        let client = server.client();
        let [hello, squatter] = ["/api/neighbour/hello", "/api/squatter"].map(|path| client.get(path).status);
        let expected = if first == "neighbour" { (200, 404) } else { (404, 200) };
        assert_eq!((hello, squatter), expected, "{first} before {second}");
    }
}
