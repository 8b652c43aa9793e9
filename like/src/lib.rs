//! SQL's `LIKE` with SQLite's semantics, in time that grows only with the text: a user who chooses both the pattern and
//! the text cannot keep a thread busy with them. It knows no database.
//!
//! SQLite retries a pattern after each character of the text. This implementation splits a pattern at its `%` and
//! searches for each piece once, from the end of the previous one. A piece without `_` is found by a substring search.
//! For a piece with `_`, all possible start positions are tracked at once, one bit each.

mod piece;

use piece::Piece;

/// The maximum length of a pattern, in bytes. Only pieces with `_` make the time of a match grow with the pattern's
/// length, by one machine word for every 64 characters.
pub const PATTERN_BYTES_MAX: usize = 4096;

/// The error for a match that was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// A parsed pattern.
#[derive(Debug, Clone)]
pub struct Like {
    /// The pieces between the `%`; never empty.
    pieces: Vec<Piece>,
    /// Whether it ends with the escape character, which matches nothing.
    is_torn: bool,
}

impl Like {
    /// Parses a pattern of `%`, `_` and an optional escape character. As in SQLite, the pattern ends before a NUL, and
    /// an escape character that is `%` or `_` is not a wildcard.
    pub fn new(pattern: &str, escape: Option<char>) -> Like {
        let mut pieces = vec![Piece::default()];
        let mut is_torn = false;
        let mut chars = until_nul(pattern).chars();
        while let Some(char) = chars.next() {
            let piece = pieces.last_mut().expect("there is one from the start");
            match char {
                _ if Some(char) == escape => match chars.next() {
                    Some(escaped) => piece.push(escaped),
                    None => is_torn = true,
                },
                '%' => pieces.push(Piece::default()),
                '_' => piece.push_any(),
                _ => piece.push(char),
            }
        }
        pieces.iter_mut().for_each(Piece::finish);
        Like { pieces, is_torn }
    }

    /// Returns whether the text matches. Only ASCII letters ignore case. The text ends before a NUL.
    pub fn matches(&self, text: &str) -> bool {
        self.matches_unless(text, || false).unwrap_or(false)
    }

    /// Matches like [`Like::matches`], and regularly checks `stop` for whether to give up.
    ///
    /// # Errors
    /// [`Stopped`] if `stop` returns true.
    pub fn matches_unless(&self, text: &str, mut stop: impl FnMut() -> bool) -> Result<bool, Stopped> {
        let text = until_nul(text);
        let [first, rest @ ..] = self.pieces.as_slice() else { return Ok(false) };
        if self.is_torn {
            return Ok(false);
        }
        let Some(begin) = first.fits_at_start(text) else { return Ok(false) };
        let Some((last, middle)) = rest.split_last() else { return Ok(begin == text.len()) };
        let Some(end) = last.fits_at_end(&text[begin..]) else { return Ok(false) };
        let mut rest = &text[begin..begin + end];
        if middle.iter().all(Piece::is_empty) {
            return Ok(true);
        }
        let lower = rest.to_ascii_lowercase();
        rest = &lower;
        for piece in middle {
            match piece.find_end(rest, &mut stop)? {
                Some(end) => rest = &rest[end..],
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn until_nul(text: &str) -> &str {
    match memchr::memchr(0, text.as_bytes()) {
        Some(end) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_as_in_sqlite() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "a", false),
            ("%", "", true),
            ("_", "", false),
            ("_", "ä", true),
            ("a%c", "AbbC", true),
            ("ä%", "Ä", false),
            ("%b_d%", "abcabcd", true),
            ("%b_d%", "abcabd", false),
            ("%_b", "bb", true),
            ("%_b", "b", false),
            ("a%a", "a", false),
            ("%ab%ba%", "aba", false),
            ("%ab%ba%", "abba", true),
            ("10\\%", "10%", true),
            ("10\\%", "10x", false),
            ("a\\", "a\\", false),
            ("a\0b", "a", true),
            ("%x", "x\0y", true),
            ("%日_語%", "は日本語です", true),
        ] {
            assert_eq!(Like::new(pattern, Some('\\')).matches(text), fits, "{pattern:?} {text:?}");
        }
        assert!(!Like::new("50%", Some('%')).matches("50"));
        assert!(Like::new("50%%", Some('%')).matches("50%"));
    }

    #[test]
    fn a_match_is_given_up_when_it_is_told_to() {
        let text = "a".repeat(1 << 20);
        let like = Like::new("%a_b%", None);
        assert_eq!(like.matches_unless(&text, || true), Err(Stopped));
        assert_eq!(like.matches_unless(&text, || false), Ok(false));
    }

    #[test]
    fn no_pattern_makes_it_try_again_behind_each_character() {
        let text = "a".repeat(4 << 20);
        let all = "a".repeat(2000);
        for pattern in [
            format!("%{all}b"),
            format!("%{all}b%"),
            format!("%{all}_b%"),
            format!("%{}b%", "a%_".repeat(500)),
        ] {
            let begun = std::time::Instant::now();
            assert!(!Like::new(&pattern, None).matches(&text));
            // With a retry after each character, each of these takes billions of steps.
            assert!(
                begun.elapsed().as_secs() < 5,
                "{} took {:?}",
                &pattern[pattern.len() - 4..],
                begun.elapsed()
            );
        }
    }
}
