//! Holds the README to the example extension that it shows. It compiles nothing: the example's own tests do.

use std::{fs, path::Path};

/// Each fenced block below a line that names a file, with that name.
fn shown_files(readme: &str) -> Vec<(&str, String)> {
    let mut files = Vec::new();
    let mut lines = readme.lines();
    let mut named = None;
    while let Some(line) = lines.next() {
        if let (Some(name), true) = (named, line.starts_with("```")) {
            let block = lines.by_ref().take_while(|line| *line != "```");
            files.push((name, block.map(|line| format!("{line}\n")).collect()));
        }
        named =
            line.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).filter(|name| name.contains('.'));
    }
    files
}

#[test]
fn the_readme_shows_the_example_as_it_is() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    let shown = shown_files(&readme);
    let names: Vec<_> = shown.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "Cargo.toml",
            "extension.toml",
            "migrations/sqlite/0001_notes.up.sql",
            "migrations/sqlite/0001_notes.down.sql",
            "src/lib.rs",
            "tests/notes.rs"
        ]
    );
    let example = folder.parent().unwrap().join("examples/notes");
    for (name, text) in shown {
        let file = fs::read_to_string(example.join(name)).unwrap();
        assert_eq!(text, file, "README.md and examples/notes/{name} differ");
    }
}
