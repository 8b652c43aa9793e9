//! Suggests the known name that an unknown one probably meant. It never decides how the unknown one is handled.

/// The maximum number of differing characters.
const DISTANCE_MAX: usize = 3;

/// Longer words are not compared: the comparison takes time proportional to the product of the lengths.
const WORD_BYTES_MAX: usize = 200;

/// Returns the known name that is most similar to `word`, if it is similar enough.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let (steps, name) = closest(word, known)?;
    (steps <= DISTANCE_MAX && 2 * steps <= name.chars().count()).then_some(name)
}

/// Returns the known name that is most similar to `word`, with their distance in characters, ignoring case.
pub(crate) fn closest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<(usize, &'k str)> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let word = word.to_lowercase();
    known.into_iter().map(|name| (distance(&word, &name.to_lowercase()), name)).min()
}

/// Returns how many characters must be inserted, removed or replaced to turn one word into the other.
fn distance(from: &str, to: &str) -> usize {
    let to = to.chars().collect::<Vec<_>>();
    let mut row = (0..=to.len()).collect::<Vec<_>>();
    for (line, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_names_are_offered_and_far_ones_are_not() {
        let known = ["email", "password", "is_admin", "role"];
        for (word, expected) in [
            ("emial", Some("email")),
            ("Email", Some("email")),
            ("passwort", Some("password")),
            ("isAdmin", Some("is_admin")),
            ("x", None),
            ("rolls", Some("role")),
            ("nothing", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        assert_eq!(nearest(&"e".repeat(1 << 20), known), None);
    }
}
