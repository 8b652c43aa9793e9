//! A digest that shows whether two tables contain the same rows: their number, and a sum of their hashes.
//!
//! Each row's packed values are hashed with SHA-256, and the hashes are summed up. The result does not depend on the
//! order of rows, because two engines may order the same keys differently. The rows of a table differ by their keys, so
//! no row cancels another.

use std::fmt::Write;

use sha2::{Digest as _, Sha256};

/// The digest of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Digest {
    /// The number of rows.
    pub rows: u64,
    /// The sum of their hashes modulo 2^256, least significant 64 bits first.
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

    /// Returns the sum in hex.
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
        // The sum is modulo 2^256 with carries; the expected value was computed with Python's integers.
        assert_eq!(
            of(&["a", "b", "c"]).hex(),
            "1f38e627d5cb671e508e7539fc0cd76628136d34ce773893f790a5732c963836"
        );
    }
}
