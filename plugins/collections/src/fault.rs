//! A fault in a client's input: its place and what is wrong. It knows nothing of HTTP.

use std::fmt::{self, Write as _};

use crate::limits;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The place, as in `schema.fields[2].min` or `tags[3]`.
    pub path: String,
    /// What is wrong and what would be right, as the end of a sentence that begins with the path.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return formatter.write_str(&self.message);
        }
        write!(formatter, "{}: {}", self.path, self.message)
    }
}

/// The list of faults found, limited to the first [`limits::FAULTS_MAX`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults {
    list: Vec<Fault>,
    unknown: Vec<Unknown>,
}

/// An unknown name in an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Its position in the list of faults.
    pub at: usize,
    /// The path of the object that has this member.
    pub parent: String,
    /// The name.
    pub name: String,
}

impl Faults {
    /// Adds a fault at a path.
    pub fn push(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if !self.is_full() {
            self.list.push(Fault { path: path.into(), message: message.into() });
        }
    }

    /// Returns whether the list is full, so that looking for more faults is useless.
    pub fn is_full(&self) -> bool {
        self.list.len() >= limits::FAULTS_MAX
    }

    /// Adds a fault: the object at `parent` has an unknown member.
    pub fn push_unknown(&mut self, parent: &str, name: &str, message: impl Into<String>) {
        if self.list.len() < limits::FAULTS_MAX {
            let (at, name) = (self.list.len(), shorten(name));
            self.list.push(Fault { path: format!("{parent}.{name}"), message: message.into() });
            self.unknown.push(Unknown { at, parent: parent.to_owned(), name });
        }
    }

    /// Returns the faults that are unknown names.
    pub fn unknown(&self) -> &[Unknown] {
        &self.unknown
    }

    /// Returns whether there are no faults.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns `Ok` if there are no faults.
    pub fn into_result(self) -> Result<(), Faults> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// Returns the faults in the order in which they were found.
    pub fn list(&self) -> &[Fault] {
        &self.list
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, fault) in self.list.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(formatter, "{separator}{fault}")?;
        }
        Ok(())
    }
}

/// The current path of validation. It is only formatted when a fault is found.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    /// Creates a path of one name.
    pub fn root(name: &'a str) -> Path<'a> {
        Path { parent: None, step: Step::Name(name) }
    }

    /// Returns the path of the member `name` of this path's value.
    pub fn name(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Name(name) }
    }

    /// Returns the path of the entry at `index` of this path's value.
    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(formatter)?;
        }
        match self.step {
            Step::Index(index) => write!(formatter, "[{index}]"),
            Step::Name(name) => {
                if self.parent.is_some() {
                    formatter.write_char('.')?;
                }
                formatter.write_str(&shorten(name))
            }
        }
    }
}

/// Shortens a client's own text for a response: to at most 100 characters.
pub fn shorten(word: &str) -> String {
    const CHARS_MAX: usize = 100;
    match word.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.to_owned(),
    }
}

/// Returns the names most similar to `wanted`, as ` (did you mean a or b?)`, or an empty text if none is close.
pub fn did_you_mean<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    const SUGGESTIONS_MAX: usize = 3;
    if wanted.len() > limits::NAME_BYTES_MAX {
        return String::new();
    }
    let wanted = wanted.to_lowercase();
    let chars = wanted.chars().count();
    let tolerance = if chars < 5 { 1 } else { (chars / 3).max(2) };
    let mut close: Vec<(usize, &str)> = names
        .map(|name| (edit_distance(&wanted, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= tolerance)
        .collect();
    close.sort_by_key(|(distance, _)| *distance);
    let names: Vec<&str> = close.into_iter().take(SUGGESTIONS_MAX).map(|(_, name)| name).collect();
    if names.is_empty() { String::new() } else { format!(" (did you mean {}?)", names.join(" or ")) }
}

/// Returns the Levenshtein distance of two words, in characters.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_a_client_would() {
        let root = Path::root("meta");
        let (list, entry);
        list = root.name("tags");
        entry = list.index(3);
        assert_eq!(entry.to_string(), "meta.tags[3]");
    }

    #[test]
    fn near_names_are_offered_and_far_ones_are_not() {
        let names = ["title", "year", "rating"];
        assert_eq!(did_you_mean("titel", names.into_iter()), " (did you mean title?)");
        assert_eq!(did_you_mean("Yaar", names.into_iter()), " (did you mean year?)");
        assert_eq!(did_you_mean("YEAR", names.into_iter()), " (did you mean year?)");
        assert_eq!(did_you_mean("director", names.into_iter()), "");
    }

    #[test]
    fn faults_stop_at_their_limit() {
        let mut faults = Faults::default();
        for number in 0..limits::FAULTS_MAX + 10 {
            faults.push(format!("f{number}"), "is wrong");
        }
        assert_eq!(faults.list().len(), limits::FAULTS_MAX);
    }
}
