//! `extensions.set`: which of the built-in extensions are part of an instance. It does not check what is installed.

use super::values::{Given, Kind};

/// The extensions of the set `data`: those that store records, but none that run code or send mail.
const DATA: [&str; 1] = ["collections"];

/// Which built-in extensions are installed and served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtensionSet {
    /// All of them.
    Full,
    /// Those that store records.
    Data,
    /// None: only accounts and administration.
    Minimal,
    /// These.
    Names(Vec<String>),
}

impl ExtensionSet {
    /// Whether a built-in extension is part of the set.
    pub fn includes(&self, name: &str) -> bool {
        match self {
            ExtensionSet::Full => true,
            ExtensionSet::Data => DATA.contains(&name),
            ExtensionSet::Minimal => false,
            ExtensionSet::Names(names) => names.iter().any(|known| known == name),
        }
    }

    /// Returns the names that are listed explicitly.
    pub fn names(&self) -> &[String] {
        match self {
            ExtensionSet::Names(names) => names,
            _ => &[],
        }
    }
}

impl Kind for ExtensionSet {
    fn read(given: Given<'_>) -> Option<ExtensionSet> {
        if let Some(word) = given.text() {
            match word.trim() {
                "full" => return Some(ExtensionSet::Full),
                "data" => return Some(ExtensionSet::Data),
                "minimal" => return Some(ExtensionSet::Minimal),
                _ => {}
            }
            if matches!(given, Given::Toml(_)) {
                return None;
            }
        }
        Vec::<String>::read(given).map(ExtensionSet::Names)
    }

    fn show(&self) -> String {
        match self {
            ExtensionSet::Full => "full".to_owned(),
            ExtensionSet::Data => "data".to_owned(),
            ExtensionSet::Minimal => "minimal".to_owned(),
            ExtensionSet::Names(names) => names.show(),
        }
    }

    fn toml(&self) -> String {
        match self {
            ExtensionSet::Names(names) => names.toml(),
            word => format!("{:?}", word.show()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_a_word_or_a_list() {
        let read = |text: &str| ExtensionSet::read(Given::Text(text)).unwrap();
        assert!(read("full").includes("anything"));
        assert!(read("data").includes("collections") && !read("data").includes("mailer"));
        assert!(!read("minimal").includes("collections"));
        let listed = read("collections, mailer");
        assert!(listed.includes("mailer") && !listed.includes("scheduler"));
        assert_eq!(listed.names(), ["collections", "mailer"]);
        assert_eq!(read("").names(), [] as [&str; 0]);
    }
}
