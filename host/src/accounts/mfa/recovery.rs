//! Recovery codes, for users who have lost their app. It never stores one, only its hash.

use sha2::{Digest, Sha256};

/// The number of codes per user.
pub(super) const RECOVERY_CODES: usize = 10;

/// Crockford's digits, which cannot be confused with each other.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 80 random bits: infeasible to guess, even with the stolen hashes.
const CODE_DIGITS: usize = 16;
const GROUP_DIGITS: usize = 4;

/// The stored hash of a code.
pub(super) type CodeHash = [u8; 32];

/// Generates new codes, to be shown once.
pub(super) fn new_codes() -> Vec<String> {
    (0..RECOVERY_CODES).map(|_| new_code()).collect()
}

fn new_code() -> String {
    let random: [u8; CODE_DIGITS] = rand::random();
    let digits = random.map(|byte| char::from(DIGITS[usize::from(byte % 32)]));
    let groups = digits.chunks(GROUP_DIGITS).map(|group| group.iter().collect::<String>());
    groups.collect::<Vec<_>>().join("-")
}

/// Returns the hash of this user's code. Case, spaces, hyphens and confusable letters do not matter.
pub(super) fn hash(user_id: &str, code: &str) -> CodeHash {
    let digits = code.chars().filter(|letter| !letter.is_whitespace() && *letter != '-');
    let digits = digits.map(|letter| match letter.to_ascii_lowercase() {
        'i' | 'l' => '1',
        'o' => '0',
        other => other,
    });
    let digits = digits.collect::<String>();
    Sha256::new()
        .chain_update(user_id)
        .chain_update(b"\0recovery code\0")
        .chain_update(digits)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_ten_of_eighty_bits() {
        let codes = new_codes();
        assert_eq!(codes.iter().collect::<HashSet<_>>().len(), RECOVERY_CODES);
        for code in codes {
            assert!(code.len() == 19 && code.split('-').all(|group| group.len() == 4), "{code}");
        }
        let seen = (0..100).flat_map(|_| new_code().into_bytes()).collect::<HashSet<_>>();
        assert_eq!(seen.len(), 33, "a digit never comes");
    }

    #[test]
    fn a_code_is_the_same_however_it_is_typed_and_the_users_own() {
        let stored = hash("u1", "01ab-cdef-ghjk-mnpq");
        for typed in
            ["01abcdefghjkmnpq", " O1AB CDEF-GHJK MNPQ\n", "oIab-cdef-ghjk-mnpq", "0l-ab cdefghjkmnpq"]
        {
            assert_eq!(hash("u1", typed), stored, "{typed:?}");
        }
        assert_ne!(hash("u1", "01ab-cdef-ghjk-mnpr"), stored);
        assert_ne!(hash("u2", "01ab-cdef-ghjk-mnpq"), stored);
    }
}
