//! Compares the documentation's list of error codes with the sources: it must have every code in the responses of the
//! host and of built-in extensions, and no other. It starts nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// The folders whose code creates responses.
const SOURCES: [&str; 2] = ["host/src", "plugins"];

/// Codes for tests only, or for the command line, whose errors have no HTTP response.
const NOT_ANSWERED: [&str; 6] =
    ["/tests/", "/tests.rs", "_tests.rs", "/testing.rs", "/benches/", "plugins/collections/src/commands/"];

/// The page of codes. It links to another page for the codes of packages and registries, which has its own test.
const PAGE: &str = "docs/http.md";
const REFUSALS: &str = "docs/extensions/refusals.md";

/// Codes in the sources of the boundary.
const OF_THE_BOUNDARY: [&str; 1] = ["plugin_panicked"];

/// The head of each table of codes.
const HEAD: &str = "| status | code | when |";

/// Returns which argument of an error constructor is the code.
fn position(of: &str, function: &str) -> Option<usize> {
    const BY_STATUS: [&str; 14] = [
        "bad_request",
        "unauthorized",
        "forbidden",
        "not_found",
        "conflict",
        "precondition_failed",
        "too_large",
        "unprocessable",
        "too_many",
        "internal",
        "unavailable",
        "timeout",
        "new",
        "of",
    ];
    match (of, function) {
        ("ApiError" | "Error" | "RawError" | "QueryFault", "new") | ("RawError", "with_details") => Some(1),
        ("ChangeError" | "InstallError", _) if BY_STATUS.contains(&function) => Some(0),
        ("Wrong", "Content") => Some(0),
        // These take lists of faults, a limit or a cause.
        ("ApiError", "unprocessable" | "too_large" | "internal") => None,
        ("ApiError" | "Error", _) if BY_STATUS.contains(&function) => Some(0),
        _ => None,
    }
}

/// Adds the error codes in a piece of code to `codes`.
fn collect(tokens: TokenStream, codes: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        let rest = &tokens[at..];
        if let Some(length) = test_length(rest) {
            at += length;
            continue;
        }
        if let [
            TokenTree::Ident(of),
            TokenTree::Punct(_),
            TokenTree::Punct(_),
            TokenTree::Ident(function),
            TokenTree::Group(given),
            ..,
        ] = rest
            && let Some(position) = position(&of.to_string(), &function.to_string())
        {
            let argument = arguments(given).into_iter().nth(position).unwrap_or_default();
            words(argument.into_iter().collect(), codes);
        }
        if let [TokenTree::Ident(word), TokenTree::Ident(name), ..] = rest
            && word == "fn"
            && (name == "code" || name == "parts")
            && let Some(body) = body(rest)
        {
            words(body.stream(), codes);
        }
        if let [TokenTree::Ident(field), TokenTree::Punct(_), value @ TokenTree::Literal(_), ..] = rest
            && field == "code"
        {
            words(value.clone().into(), codes);
        }
        if let TokenTree::Group(group) = &tokens[at] {
            collect(group.stream(), codes);
        }
        at += 1;
    }
}

/// Returns the length of a test module if one begins here.
fn test_length(tokens: &[TokenTree]) -> Option<usize> {
    let [TokenTree::Punct(hash), TokenTree::Group(attribute), ..] = tokens else { return None };
    if hash.as_char() != '#' || attribute.stream().to_string().replace(' ', "") != "cfg(test)" {
        return None;
    }
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(mark) => mark.as_char() == ';',
        _ => false,
    };
    tokens.iter().position(ends).map(|end| end + 1)
}

/// Returns the first block after the name of a function.
fn body(tokens: &[TokenTree]) -> Option<&Group> {
    tokens.iter().find_map(|token| match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
        _ => None,
    })
}

/// Splits the arguments of a call at the commas.
fn arguments(given: &Group) -> Vec<Vec<TokenTree>> {
    let mut arguments = vec![Vec::new()];
    for token in given.stream() {
        match &token {
            TokenTree::Punct(mark) if mark.as_char() == ',' => arguments.push(Vec::new()),
            _ => arguments.last_mut().expect("there is one from the start").push(token),
        }
    }
    arguments
}

/// Adds the string literals that look like a code.
fn words(tokens: TokenStream, codes: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => words(group.stream(), codes),
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                let word = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default();
                if is_code(word) {
                    codes.insert(word.to_owned());
                }
            }
            _ => {}
        }
    }
}

fn is_code(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_lowercase())
        && word.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

/// Returns the codes in the tables of a page: the text in backticks in their second column.
fn documented(page: &str) -> BTreeSet<String> {
    let mut in_table = false;
    let mut codes = BTreeSet::new();
    for line in page.lines() {
        in_table = line.starts_with('|') && (in_table || line == HEAD);
        if in_table {
            let column = line.split('|').nth(2).unwrap_or_default();
            codes.extend(column.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    codes
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies inside of the workspace").to_owned()
}

/// Collects the Rust files below a folder, by their paths from the root.
fn rust_files(folder: &Path, found: &mut BTreeMap<String, PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        let name = path.strip_prefix(root()).expect("it lies below the root").to_string_lossy().into_owned();
        if path.is_dir() {
            rust_files(&path, found);
        } else if name.ends_with(".rs") && !NOT_ANSWERED.iter().any(|part| name.contains(part)) {
            found.insert(name, path);
        }
    }
}

#[test]
fn the_documentation_lists_every_code_and_no_other() {
    let mut files = BTreeMap::new();
    for source in SOURCES {
        rust_files(&root().join(source), &mut files);
    }
    let mut codes: BTreeSet<String> = OF_THE_BOUNDARY.map(str::to_owned).into();
    for (name, path) in files {
        let text = fs::read_to_string(path).expect("it was listed");
        collect(text.parse().unwrap_or_else(|error| panic!("{name}: {error}")), &mut codes);
    }
    let read = |page: &str| fs::read_to_string(root().join(page)).expect("the page is there");
    let (listed, refusals) = (documented(&read(PAGE)), read(REFUSALS));
    let missing: Vec<_> =
        codes.difference(&listed).filter(|code| !refusals.contains(&format!("`{code}`"))).collect();
    let unknown: Vec<_> = listed.difference(&codes).collect();
    assert!(missing.is_empty(), "{PAGE} lacks {missing:?}");
    assert!(unknown.is_empty(), "{PAGE} has what nothing answers: {unknown:?}");
}

#[test]
fn codes_are_found_wherever_they_are_written() {
    let code = r#"
        fn a() { return Err(ApiError::conflict("one_a", "some_words")); }
        fn b() { ApiError::new(StatusCode::OK, if x { "two_a" } else { "two_b" }, "words") }
        impl E { fn code(&self) -> &str { match self { E::A => "three_a", E::B(e) => e.code() } } }
        fn c() { list.map(|x| vec![QueryFault::new("sort", "four_a", format!("no_code"))]) }
        #[cfg(test)]
        mod tests { fn d() { Error::not_found("five_a", "") } }
        fn e() { Other::conflict("six_a", ""); ApiError::not_found("seven", "") }
        fn f() { E { code: "eight_a".into(), other: "nine_a" } }
    "#;
    let mut codes = BTreeSet::new();
    collect(code.parse().expect("this is Rust"), &mut codes);
    let found: Vec<_> = codes.iter().map(String::as_str).collect();
    assert_eq!(found, ["eight_a", "four_a", "one_a", "seven", "three_a", "two_a", "two_b"]);
    let page =
        format!("| `x` |\n\n{HEAD}\n|---|---|---|\n| 400 | `a_b`, `c` | `d_e` |\n\n| what | `f_g` |\n");
    assert_eq!(documented(&page).into_iter().collect::<Vec<_>>(), ["a_b", "c"]);
}
