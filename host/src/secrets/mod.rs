//! Small secrets at rest: sealed under one key of the host before they are stored, opened when they are used. It never
//! stores a secret itself, and never exposes the key.

mod key_file;
mod secret;

use std::{env, path::Path};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

pub use key_file::{KeyFileError, read_or_create};
pub use secret::Secret;

/// The variable with the key, which takes precedence over the file.
pub const KEY_VARIABLE: &str = "TINYBASE_SECRET_KEY";

const FILE_NAME: &str = "secret.key";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// The number of bytes of the key's hash that identify the key.
const KEY_ID_BYTES: usize = 6;
/// The prefix of every sealed text: the version of the format.
const VERSION: &str = "v1";

/// Why there is no key to seal with, or why a sealed secret cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key file cannot be used.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The key is malformed.
    #[error(
        "{place} is no key of {KEY_BYTES} bytes in hexadecimal or base64; restore it from a backup: what was sealed under it is lost without it"
    )]
    Malformed {
        /// The name of the variable or the file.
        place: String,
    },
    /// The secret was sealed under another key.
    #[error(
        "this secret was sealed under another key; restore the key file, or set {KEY_VARIABLE} to the key of that time"
    )]
    OtherKey,
    /// The sealed text was changed, or was sealed for another purpose.
    #[error("this secret was changed since it was sealed, or belongs to something else")]
    Damaged,
}

/// Seals and opens small secrets.
pub struct Vault {
    cipher: XChaCha20Poly1305,
    /// Derives further keys.
    deriving: Hmac<Sha256>,
    key_id: String,
}

/// Shows no contents.
impl std::fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Vault")
    }
}

impl Vault {
    /// Returns a vault with the key in [`KEY_VARIABLE`], or else with the one in `folder`, which is created if there is
    /// none.
    ///
    /// # Errors
    /// [`VaultError::File`], [`VaultError::Malformed`].
    pub fn load_or_create(folder: &Path) -> Result<Vault, VaultError> {
        match env::var_os(KEY_VARIABLE).filter(|given| !given.is_empty()) {
            Some(given) => Vault::from_text(&given.to_string_lossy(), KEY_VARIABLE),
            None => Vault::from_file(folder),
        }
    }

    fn from_file(folder: &Path) -> Result<Vault, VaultError> {
        let make = || format!("{}\n", STANDARD.encode(rand::random::<[u8; KEY_BYTES]>()));
        let text = read_or_create(folder, FILE_NAME, "key of secrets", make)?;
        Vault::from_text(&text, &folder.join(FILE_NAME).display().to_string())
    }

    fn from_text(text: &str, place: &str) -> Result<Vault, VaultError> {
        let key = read_key(text.trim()).ok_or_else(|| VaultError::Malformed { place: place.to_owned() })?;
        let hash = Sha256::new().chain_update(b"tinybase key id").chain_update(key).finalize();
        Ok(Vault {
            cipher: XChaCha20Poly1305::new(&key.into()),
            deriving: Hmac::new_from_slice(&key).expect("a key of any length will do"),
            key_id: URL_SAFE_NO_PAD.encode(&hash[..KEY_ID_BYTES]),
        })
    }

    /// Returns the id of its key, which is not secret.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Returns a separate key for `purpose`, the same for all vaults with the same key. It reveals nothing about the
    /// vault's key, nor about a key for another purpose.
    pub fn derive(&self, purpose: &str) -> [u8; KEY_BYTES] {
        let mut deriving = self.deriving.clone();
        deriving.update(b"tinybase derived key\0");
        deriving.update(purpose.as_bytes());
        deriving.finalize().into_bytes().into()
    }

    /// Seals `plain` as a text that can be stored. It can be opened only for the same `purpose`: a name such as
    /// `totp:USER_ID`, so that a secret that was copied to another row is useless there.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> String {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: plain, aad: purpose.as_bytes() };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.expect("a secret is shorter than the 256 GiB that the cipher takes");
        format!("{VERSION}.{}.{}", self.key_id, URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// Opens what was sealed for `purpose`.
    ///
    /// # Errors
    /// [`VaultError::OtherKey`], [`VaultError::Damaged`].
    pub fn open(&self, purpose: &str, sealed: &str) -> Result<Vec<u8>, VaultError> {
        let mut parts = sealed.split('.');
        let (Some(VERSION), Some(key_id), Some(body), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(VaultError::Damaged);
        };
        if key_id != self.key_id {
            return Err(VaultError::OtherKey);
        }
        let body = URL_SAFE_NO_PAD.decode(body).map_err(|_| VaultError::Damaged)?;
        let (nonce, body) = body.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Damaged)?;
        let payload = Payload { msg: body, aad: purpose.as_bytes() };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| VaultError::Damaged)
    }
}

/// Parses 64 hexadecimal digits, or base64 in either alphabet, with or without padding.
fn read_key(text: &str) -> Option<[u8; KEY_BYTES]> {
    if text.len() == 2 * KEY_BYTES && text.bytes().all(|letter| letter.is_ascii_hexdigit()) {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
        let bytes = (0..KEY_BYTES).map(|byte| digit(2 * byte)).collect::<Option<Vec<_>>>()?;
        return bytes.try_into().ok();
    }
    let text = text.trim_end_matches('=');
    let decoded = STANDARD_NO_PAD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text));
    decoded.ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn vault(letter: char) -> Vault {
        Vault::from_text(&letter.to_string().repeat(2 * KEY_BYTES), "the test").unwrap()
    }

    #[test]
    fn what_was_sealed_opens_for_its_purpose_alone() {
        let vault = vault('a');
        let sealed = vault.seal("totp:1", b"secret");
        assert_eq!(vault.open("totp:1", &sealed).unwrap(), b"secret");
        assert!(!sealed.contains("secret") && sealed.starts_with("v1."), "{sealed}");
        assert_ne!(sealed, vault.seal("totp:1", b"secret"), "a nonce came twice");
        assert!(matches!(vault.open("totp:2", &sealed), Err(VaultError::Damaged)));
        assert_eq!(vault.open("", &vault.seal("", b"")).unwrap(), b"");
    }

    #[test]
    fn a_changed_secret_and_another_key_are_told_apart() {
        let sealed = vault('a').seal("x", b"secret");
        assert!(matches!(vault('b').open("x", &sealed), Err(VaultError::OtherKey)));
        let end = sealed.len() - 1;
        for changed in [&sealed[..end], &sealed[..20], "", "v1", "v1..", "v2.a.b", "plain", "v1.a.b.c"] {
            assert!(vault('a').open("x", changed).is_err(), "{changed}");
        }
        let (head, body) = sealed.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(body).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            let changed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(&bytes));
            assert!(matches!(vault('a').open("x", &changed), Err(VaultError::Damaged)), "byte {at}");
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn the_key_file_is_made_once_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = Vault::from_file(dir.path()).unwrap().seal("x", b"secret");
        assert_eq!(Vault::from_file(dir.path()).unwrap().open("x", &sealed).unwrap(), b"secret");
        let path = dir.path().join(FILE_NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let fault = Vault::from_file(dir.path()).unwrap_err().to_string();
        assert!(fault.contains("mode 644") && fault.contains("chmod 600 /"), "{fault}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "no key").unwrap();
        assert!(matches!(Vault::from_file(dir.path()), Err(VaultError::Malformed { .. })));
    }

    #[test]
    fn a_key_is_read_in_hexadecimal_and_base64() {
        let key = [0xfbu8; KEY_BYTES];
        for text in ["fb".repeat(KEY_BYTES), STANDARD.encode(key), URL_SAFE_NO_PAD.encode(key)] {
            assert_eq!(read_key(&text), Some(key), "{text}");
        }
        for text in ["", "fb", "é", &"g".repeat(64), &STANDARD.encode([1; 31]), &STANDARD.encode([1; 33])] {
            assert_eq!(read_key(text), None, "{text}");
        }
    }

    #[test]
    fn a_derived_key_is_the_same_for_its_key_and_purpose_alone() {
        assert_eq!(vault('a').derive("x"), vault('a').derive("x"));
        assert_ne!(vault('a').derive("x"), vault('a').derive("y"));
        assert_ne!(vault('a').derive("x"), vault('b').derive("x"));
    }

    #[test]
    fn nothing_of_the_key_is_shown() {
        assert_eq!(format!("{:?}", vault('a')), "Vault");
    }
}
