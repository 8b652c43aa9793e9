//! What tells whether two tables hold the same rows: their number, and a sum of their hashes.
//!
//! Each row's packed values are hashed by SHA-256, and the hashes are added up. So the order of rows has no part in it: two
//! engines may well order the same keys in two ways. The rows of a table differ by their keys, so that none cancels another.

use std::fmt::Write;

use sha2::{Digest as _, Sha256};

/// The digest of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many rows.
    pub rows: u64,
    /// The sum of their hashes modulo 2^256, from its lowest 64 bits up.
    sum: [u64; 4],
}

impl Digest {
    /// Adds a row by its packed values.
    pub fn add(&mut self, packed: &[u8]) {
        self.rows += 1;
        let hash = Sha256::digest(packed);
        let mut carry = false;
        for (limb, bytes) in self.sum.iter_mut().zip(hash.chunks_exact(8)) {
            let added = u64::from_le_bytes(bytes.try_into().expect("a chunk has eight bytes"));
            let (sum, first) = limb.overflowing_add(added);
            let (sum, second) = sum.overflowing_add(carry.into());
            (*limb, carry) = (sum, first || second);
        }
    }

    /// The sum in hex.
    pub fn hex(&self) -> String {
        self.sum.iter().rev().fold(String::with_capacity(64), |mut hex, limb| {
            write!(hex, "{limb:016x}").expect("writing to a string does not fail");
            hex
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[&str]) -> Digest {
        let mut digest = Digest::default();
        rows.iter().for_each(|row| digest.add(row.as_bytes()));
        digest
    }

    #[test]
    fn a_digest_knows_the_rows_and_not_their_order() {
        assert_eq!(of(&["a", "b", "c"]), of(&["c", "a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["a", "c"]));
        assert_ne!(of(&["a", "b"]), of(&["a", "b", "b"]));
        // The sum is modulo 2^256, carries included: taken from Python's own integers.
        assert_eq!(
            of(&["a", "b", "c"]).hex(),
            "1f38e627d5cb671e508e7539fc0cd76628136d34ce773893f790a5732c963836"
        );
    }
}
