//! Hashes and verifies passwords with argon2id, on dedicated threads. It never stores or logs one.

use argon2::{
    Algorithm, Argon2, Params, PasswordHash, Version,
    password_hash::phc::{Output, ParamsString, Salt},
};

use super::{
    password_rules::{one_form, other_form},
    password_threads::{Memory, PasswordThreads},
};
use crate::{config, error::ApiError};

/// OWASP's argon2id parameters: memory in KiB, passes, lanes.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;

/// A hash of no real password, with the same parameters: verifying against it takes as long as against a real one.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$VGlueUJhc2VOb2JvZHkwMA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes and verifies passwords.
#[derive(Debug)]
pub(super) struct Passwords {
    threads: PasswordThreads,
}

impl Passwords {
    pub(super) fn new(config: &config::Auth) -> Passwords {
        let threads =
            PasswordThreads::new(config.password_hash_concurrency_max, config.password_hash_queue_max);
        Passwords { threads }
    }

    /// Returns the hash of the normalized password as a PHC string. Fails with 503 while too many others wait.
    pub(super) async fn hash(&self, password: String) -> Result<String, ApiError> {
        let hashed = self.threads.run(move |memory| hash(&one_form(&password), memory)).await?;
        hashed.map_err(|cause| ApiError::internal_logged("a password could not be hashed", &cause))
    }

    /// Returns whether `password` matches `stored`. Without a stored hash the result is always false, but takes equally
    /// long.
    pub(super) async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, ApiError> {
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| NOBODY.to_owned());
        let verified = self.threads.run(move |memory| is_behind(&password, &stored, memory));
        Ok(verified.await? && known)
    }
}

/// Returns whether `password` matches `stored`. Hashes from before passwords were normalized are of the password as
/// typed. It is therefore also tried if it differs, whether or not `stored` belongs to a user.
fn is_behind(password: &str, stored: &str, memory: &mut Memory) -> bool {
    let mut verified = |form: &str| verify(form, stored, memory).is_ok();
    match other_form(password) {
        None => verified(password),
        Some(form) => verified(&form) || verified(password),
    }
}

/// Returns the password's hash as a PHC string; takes tens of milliseconds.
fn hash(password: &str, memory: &mut Memory) -> argon2::password_hash::Result<String> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("OWASP's parameters are valid");
    let (salt, mut output) = (rand::random::<[u8; SALT_BYTES]>(), [0; Params::DEFAULT_OUTPUT_LEN]);
    let blocks = memory.blocks(params.block_count());
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    argon2.hash_password_into_with_memory(password.as_bytes(), &salt, &mut output, blocks)?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params)?,
        salt: Some(Salt::new(&salt)?),
        hash: Some(Output::new(&output)?),
    };
    Ok(hash.to_string())
}

/// Fails unless `password` matches `stored`. The parameters come from the stored string, so hashes with older
/// parameters still verify.
fn verify(password: &str, stored: &str, memory: &mut Memory) -> argon2::password_hash::Result<()> {
    let stored = PasswordHash::new(stored)?;
    let (Some(salt), Some(expected)) = (&stored.salt, &stored.hash) else {
        return Err(argon2::password_hash::Error::PasswordInvalid);
    };
    let algorithm = Algorithm::try_from(stored.algorithm.as_str())?;
    let version = stored.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let params = Params::try_from(&stored)?;
    let (mut buffer, length) = ([0; Output::MAX_LENGTH], expected.len());
    let blocks = memory.blocks(params.block_count());
    let output = &mut buffer[..length];
    Argon2::new(algorithm, version, params).hash_password_into_with_memory(
        password.as_bytes(),
        salt,
        output,
        blocks,
    )?;
    // Compared in constant time.
    match Output::new(output)? == *expected {
        true => Ok(()),
        false => Err(argon2::password_hash::Error::PasswordInvalid),
    }
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHasher, PasswordVerifier};

    use super::*;

    #[tokio::test]
    async fn a_password_verifies_against_its_own_hash_alone() {
        let passwords = Passwords::new(&config::Auth::default());
        let stored = passwords.hash("correct horse".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(passwords.verify("correct horse".into(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify("correct hors".into(), Some(stored)).await.unwrap());
        assert!(!passwords.verify("correct horse".into(), Some("not a hash".into())).await.unwrap());
        assert!(!passwords.verify("correct horse".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn a_password_verifies_however_its_device_composes_it() {
        let passwords = Passwords::new(&config::Auth::default());
        let (composed, decomposed) = ("caf\u{e9} au lait", "cafe\u{301} au lait");
        let stored = passwords.hash(decomposed.into()).await.unwrap();
        let of_old = hash(decomposed, &mut Memory::default()).unwrap();
        let cases = [
            (composed, &stored, true),
            (decomposed, &stored, true),
            ("cafe au lait", &stored, false),
            (decomposed, &of_old, true),
            (composed, &of_old, false),
        ];
        for (typed, stored, expected) in cases {
            let verified = passwords.verify(typed.into(), Some(stored.clone())).await.unwrap();
            assert_eq!(verified, expected, "{typed:?} against {stored}");
        }
    }

    #[test]
    fn hashes_are_those_that_others_make_and_verify() {
        let mut memory = Memory::default();
        let ours = hash("correct horse", &mut memory).unwrap();
        Argon2::default().verify_password(b"correct horse", ours.as_str()).unwrap();
        Argon2::default().verify_password(b"correct hors", ours.as_str()).unwrap_err();
        let older = Params::new(64, 1, 2, Some(24)).unwrap();
        let older = Argon2::new(Algorithm::Argon2i, Version::V0x10, older);
        let theirs = older.hash_password_with_salt(b"correct horse", b"any other salt").unwrap().to_string();
        verify("correct horse", &theirs, &mut memory).unwrap();
        verify("correct hors", &theirs, &mut memory).unwrap_err();
        for broken in
            ["", "$argon2id$v=19$m=64,t=1,p=1", "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ", "$scrypt$"]
        {
            verify("correct horse", broken, &mut memory).unwrap_err();
        }
    }

    #[test]
    fn nobody_costs_what_a_real_hash_costs() {
        let real = hash("x", &mut Memory::default()).unwrap();
        let (nobody, real) = (PasswordHash::new(NOBODY).unwrap(), PasswordHash::new(&real).unwrap());
        assert_eq!(nobody.params, real.params);
        assert_eq!((nobody.algorithm, nobody.version), (real.algorithm, real.version));
        assert_eq!(nobody.hash.unwrap().len(), real.hash.unwrap().len());
        assert_eq!(nobody.salt.unwrap().len(), real.salt.unwrap().len());
    }
}
