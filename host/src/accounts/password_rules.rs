//! The rules for new passwords, and the normalized form in which passwords are hashed. It never hashes, stores or logs
//! one.

use std::collections::BTreeSet;

use unicode_normalization::{UnicodeNormalization, is_nfkc};

/// The minimum number of characters of a password.
pub const PASSWORD_CHARS_MIN: usize = 8;

/// The maximum number of characters of a password.
pub const PASSWORD_CHARS_MAX: usize = 256;

/// The maximum number of characters that are checked against common passwords. The longest one in the lists has 20, and
/// the time of a check grows steeply with the length.
const COMMON_CHARS_MAX: usize = 24;

/// The maximum number of different symbols in a checked password: each may stand for a letter, and every combination is
/// tried.
const COMMON_SIGNS_MAX: usize = 3;

/// A password found within this many guesses is a common one. That includes every word of the lists, unchanged or with
/// a capital, and sequences such as `aaaaaaaa`, `abcdefgh` and `qwertyui`.
const COMMON_GUESSES_MAX: u64 = 100_000;

/// Returns `typed` in the normalized form in which passwords are hashed (NFKC). The device on which a password is
/// typed then does not matter: `é` is one character on some and two on others.
pub(super) fn one_form(typed: &str) -> String {
    typed.nfkc().collect()
}

/// Returns the normalized form of `typed` if it differs from `typed`.
pub(super) fn other_form(typed: &str) -> Option<String> {
    (!is_nfkc(typed)).then(|| one_form(typed)).filter(|form| form != typed)
}

/// Returns whether `typed` is short enough to be a password, normalized or as typed.
pub(super) fn may_be_stored(typed: &str) -> bool {
    let fits = |form: &str| form.chars().count() <= PASSWORD_CHARS_MAX;
    fits(typed) || other_form(typed).is_some_and(|form| fits(&form))
}

/// Returns what is wrong with `typed` as a new password: the message and the kind of the fault. Usually takes well
/// below a millisecond, and a few at worst.
pub(super) fn password_fault(typed: &str) -> Option<(String, &'static str)> {
    let form = one_form(typed);
    match form.chars().count() {
        ..PASSWORD_CHARS_MIN => {
            Some((format!("a password has at least {PASSWORD_CHARS_MIN} characters"), "string_too_short"))
        }
        PASSWORD_CHARS_MIN..=COMMON_CHARS_MAX if is_common(&form) => {
            let words = "this password is among the first that anyone tries; choose another, such as a few words that \
                         do not belong together";
            Some((words.to_owned(), "password_common"))
        }
        PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX => None,
        _ => Some((format!("a password has at most {PASSWORD_CHARS_MAX} characters"), "string_too_long")),
    }
}

fn is_common(password: &str) -> bool {
    let signs = password.chars().filter(|letter| !letter.is_alphanumeric()).collect::<BTreeSet<_>>();
    signs.len() <= COMMON_SIGNS_MAX && zxcvbn::zxcvbn(password, &[]).guesses() <= COMMON_GUESSES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(password: &str) -> &'static str {
        password_fault(password).map_or("good", |(_, kind)| kind)
    }

    #[test]
    fn short_long_and_common_passwords_are_refused() {
        let cases = [
            ("", "string_too_short"),
            ("1234567", "string_too_short"),
            ("12345678", "password_common"),
            ("password", "password_common"),
            ("Password", "password_common"),
            ("p@ssw0rd", "password_common"),
            ("password1", "password_common"),
            ("iloveyou", "password_common"),
            ("11111111", "password_common"),
            ("abcdefgh", "password_common"),
            ("qwertyuiop", "password_common"),
            ("12345678900987654321", "password_common"),
            // Full-width letters are the same password.
            ("ｐａｓｓｗｏｒｄ", "password_common"),
            ("4@8({[<3691!|70$5+%2", "good"),
            ("correct horse", "good"),
            ("another horse", "good"),
            ("bench-password", "good"),
            ("Tr0ub4dor&3", "good"),
            ("пароль не для всех", "good"),
            ("  spaces  ", "good"),
        ];
        for (password, expected) in cases {
            assert_eq!(kind(password), expected, "{password:?}");
        }
    }

    #[test]
    fn characters_are_counted_in_the_one_form() {
        // Eight letters with accents, as sixteen characters and as eight.
        let decomposed = "y\u{301}e\u{301}u\u{301}o\u{301}a\u{301}i\u{301}n\u{301}c\u{301}";
        assert_eq!((decomposed.chars().count(), one_form(decomposed).chars().count()), (16, 8));
        assert_eq!(kind(decomposed), "good");
        assert_eq!(kind("e\u{301}u\u{301}o\u{301}a\u{301}"), "string_too_short");
        // One character that stands for three.
        assert_eq!(kind(&"ﬃ".repeat(85)), "good");
        assert_eq!(kind(&"ﬃ".repeat(86)), "string_too_long");
        assert_eq!(kind(&"xy ".repeat(86)), "string_too_long");
    }

    #[test]
    fn only_what_is_too_long_in_every_form_can_be_nobodys() {
        assert!(may_be_stored(&"x".repeat(256)));
        assert!(!may_be_stored(&"x".repeat(257)));
        assert!(may_be_stored(&"e\u{301}".repeat(256)));
        assert!(may_be_stored(&"ﬃ".repeat(256)));
        assert!(!may_be_stored(&"ﬃ".repeat(257)));
    }
}
