//! `tinybase extensions new`: creates the folder of an extension that builds and passes its tests right away. It never
//! overwrites existing files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::super::{Failure, output};
use crate::plugins::manifest::Manifest;

/// The folder next to the program with the bundled SDK.
const SDK_FOLDER: &str = "sdk/plugin-api";

/// The path of each file, and its template.
const FILES: [(&str, &str); 10] = [
    (".gitignore", include_str!("../../../../templates/extension/gitignore")),
    ("Cargo.toml", include_str!("../../../../templates/extension/Cargo.toml")),
    ("README.md", include_str!("../../../../templates/extension/README.md")),
    ("extension.toml", include_str!("../../../../templates/extension/extension.toml")),
    (
        "migrations/postgres/0001_visits.down.sql",
        include_str!("../../../../templates/extension/migrations/postgres/0001_visits.down.sql"),
    ),
    (
        "migrations/postgres/0001_visits.up.sql",
        include_str!("../../../../templates/extension/migrations/postgres/0001_visits.up.sql"),
    ),
    (
        "migrations/sqlite/0001_visits.down.sql",
        include_str!("../../../../templates/extension/migrations/sqlite/0001_visits.down.sql"),
    ),
    (
        "migrations/sqlite/0001_visits.up.sql",
        include_str!("../../../../templates/extension/migrations/sqlite/0001_visits.up.sql"),
    ),
    ("src/lib.rs", include_str!("../../../../templates/extension/src/lib.rs")),
    ("tests/extension.rs", include_str!("../../../../templates/extension/tests/extension.rs")),
];

/// The arguments of `new`.
#[derive(Debug, clap::Args)]
pub(in super::super) struct Options {
    /// The extension's name: [a-z][a-z0-9_]*, the prefix of its tables
    name: String,
    /// Where to make the folder
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,
    /// What the extension does, in a sentence
    #[arg(short, long, default_value = "Greets visitors and keeps a book of them.")]
    description: String,
    /// The folder of the SDK; the one that came with this program where left out
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

/// Writes the folder.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let sdk = sdk(options.sdk.as_deref())?;
    let filled = Filled {
        name: &options.name,
        description: &quoted_inside(&options.description)?,
        sdk: &toml::Value::String(sdk.display().to_string()).to_string(),
    };
    let texts: Vec<(&str, String)> = FILES.iter().map(|(file, text)| (*file, filled.fill(text))).collect();
    let manifest = texts.iter().find(|(file, _)| *file == "extension.toml").expect("it is one of the files");
    Manifest::parse(&manifest.1).map_err(|error| Failure::usage(error.to_string()))?;
    let folder = options.into.join(&options.name);
    make_empty(&folder)?;
    for (file, text) in &texts {
        write(&folder.join(file), text)?;
    }
    let shown = folder.display();
    output::line(format!("made {shown}; go on with: cd {shown} && cargo test"))
}

fn sdk(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let beside = || {
        let program = std::env::current_exe().ok()?;
        Some(program.parent()?.join(SDK_FOLDER))
    };
    let folder = given.map(Path::to_owned).or_else(beside);
    let whole = folder.and_then(|folder| fs::canonicalize(folder).ok());
    whole.filter(|folder| folder.join("Cargo.toml").exists()).ok_or_else(|| {
        Failure::new("there is no SDK beside this program: give the folder of tinybase-plugin-api with --sdk")
    })
}

/// Returns a sentence that can be used in a TOML string and in a comment.
fn quoted_inside(text: &str) -> Result<String, Failure> {
    if text.chars().any(|character| character.is_control() || matches!(character, '"' | '\\')) {
        return Err(Failure::usage("a description is one line without quotation marks and backslashes"));
    }
    Ok(text.to_owned())
}

struct Filled<'a> {
    name: &'a str,
    description: &'a str,
    /// A TOML string.
    sdk: &'a str,
}

impl Filled<'_> {
    fn fill(&self, text: &str) -> String {
        text.replace("{{name}}", self.name)
            .replace("{{crate}}", &self.name.replace('_', "-"))
            .replace("{{Type}}", &type_name(self.name))
            .replace("{{description}}", self.description)
            .replace("{{sdk}}", self.sdk)
            .replace("{{host}}", env!("CARGO_PKG_VERSION"))
    }
}

/// Converts `guest_book` to the Rust type name `GuestBook`.
fn type_name(name: &str) -> String {
    let parts = name.split('_').map(|part| {
        let mut letters = part.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    parts.collect()
}

fn make_empty(folder: &Path) -> Result<(), Failure> {
    let shown = folder.display();
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Failure::new(format!("{shown} is there already; nothing was changed")))
        }
        made => made.map_err(|error| Failure::new(format!("{shown} cannot be made: {error}"))),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().expect("a file of the extension is in its folder");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_a_type() {
        assert_eq!(type_name("guest_book"), "GuestBook");
        assert_eq!(type_name("notes"), "Notes");
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        let filled = Filled { name: "guest_book", description: "Keeps guests.", sdk: "\"/sdk\"" };
        for (file, text) in FILES {
            let text = filled.fill(text);
            assert!(!text.contains("{{"), "{file}: {text}");
        }
    }
}
