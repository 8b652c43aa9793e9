//! Compares the documentation page of refusals with the existing codes.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::{collections::BTreeSet, fs};

use tinybase_package::archive::Fault;
use tinybase_registry::{Code, resolver::ConflictKind};

#[test]
fn the_documentation_lists_every_code_and_no_other() {
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/extensions/refusals.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let listed = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    // Codes of the library probe belong to the host.
    let listed: BTreeSet<&str> = listed.filter(|code| !code.starts_with("probe_")).collect();
    let mut codes: BTreeSet<&str> = Fault::ALL.iter().map(|fault| fault.code()).collect();
    codes.extend(Code::ALL.iter().map(|code| code.as_str()));
    codes.extend(ConflictKind::ALL.iter().map(|kind| kind.code()));
    assert_eq!(listed, codes);
}
