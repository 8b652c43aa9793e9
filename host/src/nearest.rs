//! Which of the known names was probably meant by one that is unknown. It never decides what becomes of the unknown one.

/// How many characters may differ at most.
const DISTANCE_MAX: usize = 3;

/// Longer words are compared with nothing: the comparison takes time by the product of the lengths.
const WORD_BYTES_MAX: usize = 200;

/// The known name that is most like `word`, if one is close enough to be meant.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let (steps, name) = closest(word, known)?;
    (steps <= DISTANCE_MAX && 2 * steps <= name.chars().count()).then_some(name)
}

/// The known name that is most like `word`, with the distance between them in characters, whatever their case.
pub(crate) fn closest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<(usize, &'k str)> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let word = word.to_lowercase();
    known.into_iter().map(|name| (distance(&word, &name.to_lowercase()), name)).min()
}

/// How many characters have to be inserted, removed or replaced to get from one word to the other.
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
