//! The rules of this repository, as tests over every file in git. Each rule is a function from a file to its faults,
//! and a test shows that each rule finds a fault. It never looks at build output.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proc_macro2::{TokenStream, TokenTree};

mod retired;

/// The maximum number of non-blank lines of a Rust file.
const FILE_LINES_MAX: usize = 500;

/// The folder of built-in plugins, which only depend on the SDK.
const PLUGINS: &str = "plugins/";

/// Crates that a plugin must not depend on, except for its tests: the host and what only the host may access.
const NOT_FOR_PLUGINS: [&str; 5] = ["tinybase", "rusqlite", "sqlx", "axum", "libsqlite3-sys"];

/// Crates whose types never cross the boundary, so that its crate does not depend on them.
const NOT_FOR_ABI: [&str; 7] = ["axum", "http", "hyper", "serde_json", "sqlx", "rusqlite", "tokio"];

/// The places where `unsafe` is allowed, by path prefix. In `crash.rs` a signal handler is a C function: no safe
/// interface supports the signals of a fault.
const UNSAFE_PLACES: [&str; 5] = [
    "plugin-api/abi/src/",
    "host/src/allocator.rs",
    "host/src/isolation/crash.rs",
    "host/src/plugins/library",
    "tests/stress/",
];

/// Files that may break a rule, each with the reason: (rule, path, reason). One that no longer breaks it is a fault.
const EXCEPTIONS: [(&str, &str, &str); 0] = [];

/// One file in git.
struct File {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

/// A rule's name, and the function that finds its faults in one file.
type Rule = (&'static str, fn(&File) -> Vec<String>);

const RULES: [Rule; 10] = [
    ("opening", opening),
    ("file_lines", file_lines),
    ("machine_words", machine_words),
    ("unsafe_places", unsafe_places),
    ("ignored_tests", ignored_tests),
    ("plugin_dependencies", plugin_dependencies),
    ("abi_dependencies", abi_dependencies),
    ("final_newline", final_newline),
    ("common_tables", common_tables),
    ("retired_names", retired::retired_names),
];

/// The folders of the host's own SQL.
const HOST_SQL: [&str; 2] = ["host/src/", "migrations/"];

/// Checks that every Rust file states in its first line what it owns.
fn opening(file: &File) -> Vec<String> {
    let opens = ["//!", "#!"].iter().any(|start| file.text.starts_with(start));
    if !is_rust(file) || opens {
        vec![]
    } else {
        vec!["open it with `//!`: what it owns, and what it never does".into()]
    }
}

fn file_lines(file: &File) -> Vec<String> {
    let lines = file.text.lines().filter(|line| !line.trim().is_empty()).count();
    if !is_rust(file) || lines <= FILE_LINES_MAX {
        return vec![];
    }
    vec![format!("{lines} lines, {FILE_LINES_MAX} at most: one concept a file")]
}

/// Checks that nothing refers to the machine or the surroundings that it was written in.
fn machine_words(file: &File) -> Vec<String> {
    if ["Cargo.lock", "package-lock.json"].iter().any(|lock| file.path.ends_with(lock)) {
        return vec![];
    }
    // Assembled here, so that this file does not contain the words.
    let words = [
        concat!("../", "shared"),
        concat!(".lib", "rary/"),
        concat!("/opt/", "wheels"),
        concat!("index.", "crates.io"),
        concat!("registry.", "npmjs.org"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/tm", "p/"),
    ];
    let faulty = |line: &str, word: &str| {
        line.match_indices(word).any(|(at, _)| {
            // `framework/x` is a separate word, and `/tmp` in a longer path is not the machine's.
            !word.starts_with('/')
                || !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.}>*".contains(c))
        })
    };
    let lines = file.text.lines().enumerate();
    lines
        .flat_map(|(number, line)| {
            let found = words.iter().filter(move |word| faulty(line, word));
            found.map(move |word| format!("line {}: names {word}", number + 1))
        })
        .collect()
}

fn unsafe_places(file: &File) -> Vec<String> {
    if !is_rust(file) || UNSAFE_PLACES.iter().any(|place| file.path.starts_with(place)) {
        return vec![];
    }
    match file.text.parse::<TokenStream>() {
        Ok(tokens) => unsafe_lines(tokens)
            .iter()
            .map(|line| format!("line {line}: `unsafe` has no place here"))
            .collect(),
        Err(error) => vec![format!("not Rust: {error}")],
    }
}

/// Returns the lines with the word `unsafe` in code, not in comments or strings.
fn unsafe_lines(tokens: TokenStream) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    for token in tokens {
        match token {
            TokenTree::Ident(word) if word == "unsafe" => drop(lines.insert(word.span().start().line)),
            TokenTree::Group(group) => lines.extend(unsafe_lines(group.stream())),
            _ => {}
        }
    }
    lines
}

fn ignored_tests(file: &File) -> Vec<String> {
    let bare = concat!("#[", "ignore]");
    let lines = file.text.lines().enumerate().filter(|(_, line)| is_rust(file) && line.contains(bare));
    lines.map(|(number, _)| format!("line {}: say why, #[ignore = \"…\"]", number + 1)).collect()
}

fn plugin_dependencies(file: &File) -> Vec<String> {
    if !file.path.starts_with(PLUGINS) || !file.path.ends_with("Cargo.toml") {
        return vec![];
    }
    let names = dependencies(&file.text);
    let mut faults: Vec<_> = NOT_FOR_PLUGINS
        .iter()
        .filter(|name| names.contains(**name))
        .map(|name| format!("depends on {name}; a plugin depends on tinybase-plugin-api alone"))
        .collect();
    if !names.contains("tinybase-plugin-api") {
        faults.push("does not depend on tinybase-plugin-api".into());
    }
    faults
}

fn abi_dependencies(file: &File) -> Vec<String> {
    if file.path != "plugin-api/abi/Cargo.toml" {
        return vec![];
    }
    let names = dependencies(&file.text);
    let found = NOT_FOR_ABI.iter().filter(|name| names.contains(**name));
    found.map(|name| format!("depends on {name}, whose types never cross the boundary")).collect()
}

fn final_newline(file: &File) -> Vec<String> {
    if file.text.is_empty() || file.text.ends_with('\n') {
        vec![]
    } else {
        vec!["end it with a newline".into()]
    }
}

/// Checks that the host's common table expressions have the host's prefix. SQLite's authorizer treats such a name like
/// an extension's view. It would get the rights of an extension with the same name, and shadow that extension's table.
fn common_tables(file: &File) -> Vec<String> {
    let is_sql = is_rust(file) || file.path.ends_with(".sql");
    if !is_sql || !HOST_SQL.iter().any(|place| file.path.starts_with(place)) {
        return vec![];
    }
    let words = words(&file.text);
    let mut faults = Vec::new();
    for (at, (_, word)) in words.iter().enumerate() {
        // In Rust, SQL is in capitals, and prose is not.
        if *word != "WITH" && (is_rust(file) || !word.eq_ignore_ascii_case("with")) {
            continue;
        }
        let recursive = words.get(at + 1).is_some_and(|(_, word)| word.eq_ignore_ascii_case("recursive"));
        let mut next = Some(at + 1 + usize::from(recursive));
        while let Some((name, end)) = next.and_then(|next| common_table(&words, next)) {
            let (line, name) = words[name];
            if !name.starts_with("tb_") {
                faults.push(format!("line {line}: call the common table expression {name} tb_{name}"));
            }
            next = words.get(end).filter(|(_, word)| *word == ",").map(|_| end + 1);
        }
    }
    faults
}

/// Matches `name [(…)] AS [NOT] [MATERIALIZED] (…)` at a word. Returns the position of the name, and of the word after
/// the end.
fn common_table(words: &[(usize, &str)], at: usize) -> Option<(usize, usize)> {
    let is =
        |at: usize, wanted: &str| words.get(at).is_some_and(|(_, word)| word.eq_ignore_ascii_case(wanted));
    words
        .get(at)
        .filter(|(_, word)| word.starts_with(|first: char| first.is_alphabetic() || first == '_'))?;
    let mut next = if is(at + 1, "(") { behind(words, at + 1)? } else { at + 1 };
    if !is(next, "as") {
        return None;
    }
    next += 1;
    while is(next, "not") || is(next, "materialized") {
        next += 1;
    }
    if !is(next, "(") {
        return None;
    }
    // The end of an expression that is assembled by a program is unknown.
    Some((at, behind(words, next).unwrap_or(words.len())))
}

/// Returns the position after the parenthesis that closes the one at a word.
fn behind(words: &[(usize, &str)], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, (_, word)) in words[at..].iter().enumerate() {
        match *word {
            "(" => depth += 1,
            ")" if depth == 1 => return Some(at + offset + 1),
            ")" => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Splits a text into names and symbols with their lines; characters that only join the lines of a string are left out.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let is_name = |char: char| char.is_alphanumeric() || char == '_';
            let end = if is_name(first) {
                rest.find(|char| !is_name(char)).unwrap_or(rest.len())
            } else {
                first.len_utf8()
            };
            if !first.is_whitespace() && !matches!(first, '\\' | '"') {
                words.push((number + 1, &rest[..end]));
            }
            rest = &rest[end..];
        }
    }
    words
}

/// Returns the packages under `[dependencies]`, including those of targets, under their own names.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let table: toml::Table = manifest.parse().expect("cargo has read this manifest");
    let targets = table.get("target").and_then(toml::Value::as_table);
    let tables = targets.into_iter().flatten().filter_map(|(_, target)| target.as_table());
    let mut names = BTreeSet::new();
    for table in tables.chain([&table]) {
        for (name, value) in table.get("dependencies").and_then(toml::Value::as_table).into_iter().flatten() {
            let renamed = value.get("package").and_then(toml::Value::as_str);
            names.insert(renamed.unwrap_or(name).to_owned());
        }
    }
    names
}

fn is_rust(file: &File) -> bool {
    file.path.ends_with(".rs")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies inside of the workspace").to_owned()
}

/// Returns every text file that git tracks or would track.
fn files() -> Vec<File> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(arguments).current_dir(root()).output().expect("git is installed");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let paths: BTreeSet<_> = listed.split('\0').filter(|path| !path.is_empty()).collect();
    // Skip files that are deleted but not yet committed, or not text.
    let read =
        |path: &str| Some(File { path: path.to_owned(), text: fs::read_to_string(root().join(path)).ok()? });
    paths.into_iter().filter_map(read).collect()
}

#[test]
fn every_file_keeps_the_rules() {
    let files = files();
    assert!(files.iter().any(|file| file.path == "Cargo.toml"), "git lists the workspace");
    let mut faults = Vec::new();
    for (rule, check) in RULES {
        for file in &files {
            let found = check(file);
            let excepted = EXCEPTIONS.iter().any(|(r, path, _)| *r == rule && *path == file.path);
            match (excepted, found.is_empty()) {
                (true, true) => {
                    faults.push(format!("{}: {rule}: its exception is not needed any more", file.path))
                }
                (false, _) => {
                    faults.extend(found.iter().map(|fault| format!("{}: {rule}: {fault}", file.path)))
                }
                (true, false) => {}
            }
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

/// A rule, the path and text of a file that breaks it, and those of a similar file that does not.
type Case<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

/// The cases of [`common_tables`].
const COMMON_TABLES: [Case<'_>; 3] = [
    (
        "common_tables",
        "host/src/x.rs",
        "const A: &str = \"WITH RECURSIVE below (id) AS (SELECT 1) \\\n SELECT id FROM below\";\n",
        "host/src/x.rs",
        "const A: &str = \"WITH RECURSIVE tb_below (id) AS (SELECT 1) SELECT id FROM tb_below\"; // goes with one AS (it) is\n",
    ),
    (
        "common_tables",
        "migrations/sqlite/x.sql",
        "with tb_a as (select (1)), b as not materialized (select 2) select 1;\n",
        "plugins/a/src/x.rs",
        "const A: &str = \"WITH gone AS (SELECT 1) SELECT 1\";\n",
    ),
    (
        "common_tables",
        "host/src/x.rs",
        "format!(\"WITH \\\n all AS ({sql}) SELECT 1\");\n",
        "host/src/x.rs",
        "const A: &str = \"SELECT 1 FROM unnest($1) WITH ORDINALITY AS tb_each (a, place)\";\n",
    ),
];

/// For each rule a file that breaks it, and a similar one that does not.
#[test]
fn every_rule_finds_its_fault() {
    let long = "//! Long.\n".repeat(FILE_LINES_MAX + 1);
    let fits = "//! Long.\n".repeat(FILE_LINES_MAX);
    let home = concat!("see /wo", "rk/main\n");
    let bare = concat!("#[", "ignore]\n");
    let cases: [Case<'_>; 14] = [
        ("opening", "a.rs", "fn main() {}\n", "a.rs", "//! Says it.\nfn main() {}\n"),
        ("opening", "a.rs", "// no\n", "a.py", "# not Rust\n"),
        ("file_lines", "a.rs", &long, "a.rs", &fits),
        ("machine_words", "a.md", home, "a.md", "the framework/main is a house/work/place\n"),
        ("machine_words", "a.md", concat!("../", "shared\n"), "Cargo.lock", concat!("../", "shared\n")),
        ("machine_words", "a.md", concat!("`/tm", "p/x`\n"), "a.md", concat!("{dir}/tm", "p/x\n")),
        (
            "unsafe_places",
            "host/src/db/x.rs",
            "fn f() { unsafe { g() } }\n",
            "host/src/db/x.rs",
            "// unsafe\nconst A: &str = \"unsafe\";\n",
        ),
        (
            "unsafe_places",
            "host/src/x.rs",
            "unsafe fn f() {}\n",
            "plugin-api/abi/src/x.rs",
            "unsafe fn f() {}\n",
        ),
        ("ignored_tests", "a.rs", bare, "a.rs", "#[ignore = \"needs a network\"]\n"),
        (
            "plugin_dependencies",
            "plugins/a/Cargo.toml",
            "[dependencies]\ntinybase-plugin-api = \"1\"\nrusqlite = \"1\"\n",
            "plugins/a/Cargo.toml",
            "[dependencies]\ntinybase-plugin-api = \"1\"\n[dev-dependencies]\nrusqlite = \"1\"\n",
        ),
        (
            "plugin_dependencies",
            "plugins/a/Cargo.toml",
            "[dependencies]\n",
            "plugins/a/Cargo.toml",
            "[dependencies]\ntinybase-plugin-api.workspace = true\n",
        ),
        (
            "plugin_dependencies",
            "plugins/a/Cargo.toml",
            "[dependencies]\ntinybase-plugin-api = \"1\"\nx = { package = \"tinybase\" }\n",
            "host/Cargo.toml",
            "[dependencies]\nrusqlite = \"1\"\n",
        ),
        (
            "abi_dependencies",
            "plugin-api/abi/Cargo.toml",
            "[target.'cfg(unix)'.dependencies]\ntokio = \"1\"\n",
            "plugin-api/abi/Cargo.toml",
            "[dependencies]\nabi_stable = \"1\"\n",
        ),
        ("final_newline", "a.md", "x", "a.md", "x\n"),
    ];
    for (rule, bad_path, bad, good_path, good) in
        cases.into_iter().chain(COMMON_TABLES).chain([retired::CASE])
    {
        let (_, check) = RULES.iter().find(|(name, _)| *name == rule).expect("the case names a rule");
        let faults = |path: &str, text: &str| check(&File { path: path.into(), text: text.into() });
        assert!(!faults(bad_path, bad).is_empty(), "{rule} finds no fault in {bad_path}: {bad}");
        assert_eq!(faults(good_path, good), Vec::<String>::new(), "{rule} in {good_path}: {good}");
    }
    let covered: BTreeSet<_> =
        cases.iter().chain(&COMMON_TABLES).chain([&retired::CASE]).map(|case| case.0).collect();
    assert_eq!(covered.len(), RULES.len(), "every rule has a case");
}
