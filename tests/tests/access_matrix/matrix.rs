//! A table of results as text with one line per row, and its comparison with the file in the repository. It sends no
//! request.

use std::{collections::BTreeSet, fs};

use tinybase_tests::root;

/// A table under construction.
pub struct Matrix {
    lines: Vec<Vec<String>>,
}

impl Matrix {
    /// Creates a table with these columns after the first.
    pub fn new(first: &str, columns: &[&str]) -> Matrix {
        let head =
            [format!("# {first}")].into_iter().chain(columns.iter().map(|column| (*column).to_owned()));
        Matrix { lines: vec![head.collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, name: String, cells: Vec<String>) {
        self.lines.push([name].into_iter().chain(cells).collect());
    }

    fn text(&self) -> String {
        let width =
            |column: usize| self.lines.iter().map(|line| line[column].len()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..self.lines[0].len()).map(width).collect();
        let line = |cells: &Vec<String>| {
            let padded: Vec<String> =
                cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            padded.join("  ").trim_end().to_owned() + "\n"
        };
        self.lines.iter().map(line).collect()
    }

    /// Compares it with the file, or writes the file if `UPDATE_EXPECT` is set.
    ///
    /// # Panics
    /// When they differ, with the differing lines.
    pub fn compare(&self, path: &str) {
        let actual = self.text();
        let file = root().join(path);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&file, &actual).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
        // Lines are compared by words: a longer name in one row changes the widths of all columns.
        let words = |text: &str| -> BTreeSet<String> {
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
        };
        let (actual, expected) = (words(&actual), words(&expected));
        let list =
            |lines: Vec<&String>| lines.into_iter().map(|line| format!("  {line}\n")).collect::<String>();
        let (new, gone) =
            (actual.difference(&expected).collect::<Vec<_>>(), expected.difference(&actual).collect());
        assert!(
            actual == expected,
            "{path} differs. The server answers:\n{}The file says:\n{}",
            list(new),
            list(gone)
        );
    }
}
