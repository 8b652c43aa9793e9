//! A field's pattern, matched in bounded time for every pattern and text. It knows no record.
//!
//! `regex-lite` defines the meaning of a pattern. It needs one step per byte of the text and instruction of the
//! pattern, so it only matches short texts. For longer ones the pattern is compiled to a table of states, which needs
//! one step per byte. If that table would be too large, the length of the text is limited.

use std::sync::OnceLock;

use regex_automata::{
    Anchored, Input,
    dfa::{Automaton, StartKind, dense},
    nfa::thompson,
};
use regex_lite::{Regex, RegexBuilder};

use crate::limits;

/// A pattern.
#[derive(Debug)]
pub struct Pattern {
    regex: Regex,
    program_bytes: usize,
    table: OnceLock<Option<dense::DFA<Vec<u32>>>>,
}

/// The result of matching a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It matches.
    Matches,
    /// It does not match.
    Differs,
    /// The text is longer than this many bytes, the maximum for this pattern.
    TooLong(usize),
}

impl Pattern {
    /// Parses a regular expression.
    pub fn new(text: &str) -> Result<Pattern, regex_lite::Error> {
        let build = |bytes| RegexBuilder::new(text).size_limit(bytes).build();
        let regex = build(limits::PATTERN_PROGRAM_BYTES_MAX)?;
        // The library reveals the program's size only by refusing smaller limits.
        const FIRST: usize = 512;
        let (mut least, mut most) = (0, FIRST);
        while most < limits::PATTERN_PROGRAM_BYTES_MAX && build(most).is_err() {
            (least, most) = (most, most * 2);
        }
        while least > 0 && most - least > most / 8 {
            let middle = least.midpoint(most);
            if build(middle).is_err() { least = middle } else { most = middle }
        }
        Ok(Pattern { regex, program_bytes: most, table: OnceLock::new() })
    }

    /// Returns the pattern as written.
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// Returns the maximum text length in bytes for matching without a table.
    fn short_bytes_max(&self) -> usize {
        limits::PATTERN_STEPS_MAX / self.program_bytes
    }

    /// Matches a text.
    pub fn check(&self, text: &str) -> Fit {
        let matches = if text.len() <= self.short_bytes_max() {
            self.regex.is_match(text)
        } else {
            match self.table.get_or_init(|| table(self.as_str())) {
                Some(table) => is_match(table, text),
                None => return Fit::TooLong(self.short_bytes_max()),
            }
        };
        if matches { Fit::Matches } else { Fit::Differs }
    }
}

fn is_match(table: &dense::DFA<Vec<u32>>, text: &str) -> bool {
    let input = Input::new(text).anchored(Anchored::No).earliest(true);
    // A table without quit bytes never gives up.
    table.try_search_fwd(&input).is_ok_and(|found| found.is_some())
}

fn table(pattern: &str) -> Option<dense::DFA<Vec<u32>>> {
    let pattern = ascii_classes(pattern)?;
    let bytes_max = Some(limits::PATTERN_TABLE_BYTES_MAX);
    let program =
        thompson::Config::new().nfa_size_limit(bytes_max).which_captures(thompson::WhichCaptures::None);
    let program = thompson::Compiler::new().configure(program).build(&pattern).ok()?;
    let config = dense::Config::new()
        .dfa_size_limit(bytes_max)
        .determinize_size_limit(bytes_max)
        .start_kind(StartKind::Unanchored);
    dense::Builder::new().configure(config).build_from_nfa(&program).ok()
}

/// Converts the pattern for a library whose classes such as `\w` include more than ASCII. Returns `None` for features
/// that the two may interpret differently: flags, `\B`, and operators within classes.
fn ascii_classes(pattern: &str) -> Option<String> {
    let mut out = String::with_capacity(pattern.len() * 2);
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(char) = chars.next() {
        let next = chars.peek().copied();
        match (char, next) {
            ('\\', Some(escaped)) => {
                chars.next();
                out.push_str(match (escaped, in_class) {
                    ('d', _) => "[0-9]",
                    ('D', _) => "[^0-9]",
                    ('w', _) => "[0-9A-Za-z_]",
                    ('W', _) => "[^0-9A-Za-z_]",
                    ('s', _) => r"[\t\n\x0B\x0C\r ]",
                    ('S', _) => r"[^\t\n\x0B\x0C\r ]",
                    ('b', false) if chars.peek() != Some(&'{') => r"(?-u:\b)",
                    ('A' | 'z', false) | ('n' | 't' | 'r' | 'f' | 'v', _) => {
                        out.extend(['\\', escaped]);
                        continue;
                    }
                    ('<' | '>', _) => return None,
                    _ if escaped.is_ascii_punctuation() => {
                        out.extend(['\\', escaped]);
                        continue;
                    }
                    _ => return None,
                });
                continue;
            }
            ('(', Some('?')) if !in_class => {
                // Of these, only a non-capturing group is not a flag.
                chars.next();
                if chars.peek() != Some(&':') {
                    return None;
                }
                out.push_str("(?");
                continue;
            }
            ('{', Some(',')) if !in_class => return None,
            ('[', _) if in_class => return None,
            ('[', _) => {
                in_class = true;
                out.push('[');
                if next == Some('^') {
                    out.extend(chars.next());
                }
                if chars.peek() == Some(&']') {
                    return None;
                }
                continue;
            }
            (']', _) if in_class => in_class = false,
            ('&' | '-' | '~', Some(twin)) if in_class && twin == char => return None,
            _ => {}
        }
        out.push(char);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const PATTERNS: [&str; 16] = [
        r"^[^<>]*$",
        r"^\S+@\S+\.\S+$",
        r"^\w+$",
        r"\W",
        r"^[\w.-]+$",
        r"^[^\d\s]*$",
        r"\bab\b",
        r"(a|b|ab)*c",
        r"^.{1,500}$",
        r"(?:a?){20}a{20}",
        r"\w+\s\w+q",
        r"[ab]{1,90}c",
        r"^(\+|-)?\d+$",
        "",
        "ä+",
        r"^\x41|\.$",
    ];

    #[test]
    fn a_table_finds_what_the_program_finds() {
        let words = [
            "a", "ab", "ä", "K", "s", "٣", "\u{a0}", "_", "@", ".", " ", "\n", "\u{b}", "<", "c", "q", "7",
            "-",
        ];
        let (mut tables, mut seed) = (0, 7_usize);
        for pattern in PATTERNS {
            let read = Pattern::new(pattern).unwrap();
            let Some(table) = table(pattern) else { continue };
            tables += 1;
            for _ in 0..2_000 {
                let mut text = String::new();
                for _ in 0..seed % 7 {
                    seed =
                        seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    text.push_str(words[(seed >> 33) % words.len()]);
                }
                seed = seed.wrapping_add(1);
                assert_eq!(is_match(&table, &text), read.regex.is_match(&text), "{pattern} on {text:?}");
            }
        }
        assert!(tables >= 14, "{tables} tables");
    }

    #[test]
    fn long_texts_are_matched_or_refused_at_once() {
        let text = "a".repeat(limits::DATA_BYTES_MAX);
        let steps = "[^x]{1,300}[^y]{1,300}z";
        for (pattern, fits) in [
            (r"^[^<>]*$", Some(Fit::Matches)),
            (r"b", Some(Fit::Differs)),
            (r"^\w+$", Some(Fit::Matches)),
            (r"^.{1,500}$", Some(Fit::Differs)),
            (steps, None),
            (r"(?i)A+b", None),
            (r"(.{0,50},){10}x", None),
            (r"\B[ab]{1,400}[^c]{2,300}\B[a-f]{5}d", None),
        ] {
            let read = Pattern::new(pattern).unwrap();
            let begun = Instant::now();
            let fit = read.check(&text);
            match fits {
                Some(fits) => assert_eq!(fit, fits, "{pattern}"),
                None => assert!(matches!(fit, Fit::TooLong(256..)), "{pattern}: {fit:?}"),
            }
            if let Fit::TooLong(bytes) = fit {
                assert_ne!(read.check(&text[..bytes]), fit, "{pattern}");
            }
            assert!(begun.elapsed() < Duration::from_secs(3), "{pattern} took {:?}", begun.elapsed());
        }
        assert_eq!(Pattern::new(steps).unwrap().check(&format!("{}z", "a".repeat(500))), Fit::Matches);
    }
}
