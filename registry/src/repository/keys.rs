//! The keys that sign a registry's metadata: Ed25519, one PKCS #8 PEM file each, readable by their owner only. Private
//! keys are never printed.

use std::{
    fmt, fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use ed25519_dalek::{
    Signer, SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding},
};
use tinybase_package::unpacked::hex;
use tough::schema::{
    Role, Signature, Signed,
    decoded::{Decoded, Hex},
    key::{Ed25519Key, Ed25519Scheme, Key},
};

use crate::error::{Code, RegistryError};

/// The extension of a key's file name.
const ENDING: &str = "pem";

/// A key, and its file.
pub struct KeyFile {
    /// The file.
    pub path: PathBuf,
    /// The key's id in metadata, in hex.
    pub id: String,
    /// The public key, in hex.
    pub public: String,
    key: SigningKey,
}

/// Shows the key's id, not the key.
impl fmt::Debug for KeyFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KeyFile({})", self.id)
    }
}

impl KeyFile {
    /// Creates a key in a new file.
    ///
    /// # Errors
    /// Fails if the file exists already or cannot be written.
    pub fn create(path: &Path) -> Result<KeyFile, RegistryError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(RegistryError::io(folder))?;
        }
        let key = SigningKey::from_bytes(&rand::random());
        let pem = key.to_pkcs8_pem(LineEnding::LF).expect("a key that was just made has a PKCS #8 form");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(RegistryError::io(path))?;
        file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).map_err(RegistryError::io(path))?;
        Ok(KeyFile::of(path, key))
    }

    /// Reads a key.
    ///
    /// # Errors
    /// Fails if the file cannot be read or does not contain a key.
    pub fn read(path: &Path) -> Result<KeyFile, RegistryError> {
        let pem = fs::read_to_string(path).map_err(RegistryError::io(path))?;
        let key = SigningKey::from_pkcs8_pem(&pem).map_err(|_| {
            let words = format!("{}: it holds no Ed25519 key in PKCS #8 PEM", path.display());
            RegistryError::new(Code::Key, words)
        })?;
        Ok(KeyFile::of(path, key))
    }

    fn of(path: &Path, key: SigningKey) -> KeyFile {
        let public = hex(key.verifying_key().as_bytes());
        let mut file = KeyFile { path: path.to_owned(), id: String::new(), public, key };
        file.id = hex(&file.key_id());
        file
    }

    /// Returns the public key in the format of metadata.
    pub(crate) fn tuf_key(&self) -> Key {
        Key::Ed25519 {
            keyval: Ed25519Key {
                public: self.key.verifying_key().as_bytes().to_vec().into(),
                _extra: Default::default(),
            },
            scheme: Ed25519Scheme::Ed25519,
            _extra: Default::default(),
        }
    }

    /// Returns the id in the format of metadata.
    pub(crate) fn key_id(&self) -> Decoded<Hex> {
        self.tuf_key().key_id().expect("a key has a canonical form")
    }
}

/// The keys available to a command.
#[derive(Debug, Default)]
pub struct Keyring {
    keys: Vec<KeyFile>,
}

impl Keyring {
    /// Reads every key in a folder, recursively; none if the folder does not exist.
    ///
    /// # Errors
    /// Fails if a `.pem` file does not contain a key.
    pub fn in_folder(folder: &Path) -> Result<Keyring, RegistryError> {
        let mut keyring = Keyring::default();
        if folder.exists() {
            keyring.walk(folder)?;
        }
        Ok(keyring)
    }

    fn walk(&mut self, folder: &Path) -> Result<(), RegistryError> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(RegistryError::io(folder))? {
            paths.push(entry.map_err(RegistryError::io(folder))?.path());
        }
        paths.sort();
        for path in paths {
            if path.is_dir() {
                self.walk(&path)?;
            } else if path.extension().is_some_and(|ending| ending == ENDING) {
                self.keys.push(KeyFile::read(&path)?);
            }
        }
        Ok(())
    }

    /// Adds the key in a file.
    ///
    /// # Errors
    /// Fails if the file does not contain a key.
    pub fn add(&mut self, path: &Path) -> Result<(), RegistryError> {
        self.keys.push(KeyFile::read(path)?);
        Ok(())
    }

    /// Returns all keys.
    pub fn keys(&self) -> &[KeyFile] {
        &self.keys
    }

    /// Signs a role's metadata with each available key of `ids`. At least `threshold` of them must be available.
    pub(crate) fn sign<T: Role>(
        &self,
        role: T,
        what: &str,
        ids: &[Decoded<Hex>],
        threshold: u64,
    ) -> Result<Signed<T>, RegistryError> {
        let mut signed = Signed { signed: role, signatures: Vec::new() };
        self.sign_more(&mut signed, ids)?;
        if (signed.signatures.len() as u64) < threshold {
            let words = format!(
                "{what} must be signed by {threshold} of its keys, and {} of them is at hand: give the folder of keys with --keys",
                signed.signatures.len()
            );
            return Err(RegistryError::new(Code::ThresholdNotMet, words));
        }
        Ok(signed)
    }

    /// Adds the missing signatures of the available keys of `ids`. Returns how many keys of `ids` have signed.
    pub(crate) fn sign_more<T: Role>(
        &self,
        signed: &mut Signed<T>,
        ids: &[Decoded<Hex>],
    ) -> Result<u64, RegistryError> {
        let form = signed
            .signed
            .canonical_form()
            .map_err(|error| RegistryError::new(Code::MetadataInvalid, error.to_string()))?;
        for key in &self.keys {
            let id = key.key_id();
            let has_signed = signed.signatures.iter().any(|signature| signature.keyid == id);
            if ids.contains(&id) && !has_signed {
                let sig = key.key.sign(&form).to_bytes().to_vec().into();
                signed.signatures.push(Signature { keyid: id, sig });
            }
        }
        Ok(signed.signatures.iter().filter(|signature| ids.contains(&signature.keyid)).count() as u64)
    }
}
