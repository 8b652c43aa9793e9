//! The Ed25519 key pair that signs access tokens: made once, kept in a file for the owner alone, published as a JWK set.
//! It never leaves the process but through that file.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{
    SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding},
};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const FILE_NAME: &str = "ed25519.pem";
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The system refused.
    #[error("the signing key {} cannot be {did}: {cause}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        did: &'static str,
        /// The system's answer.
        cause: io::Error,
    },
    /// The file holds something else.
    #[error("{} is no Ed25519 key in PKCS #8 PEM; restore it from a backup, or remove it to have a new one made, which signs everyone out", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// Others may read the file.
    #[error("the signing key {} can be read by others (mode {mode:o}); run: chmod 600 {0}", .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// The key pair, ready to sign and verify.
pub struct Keys {
    pub(super) encoding: EncodingKey,
    pub(super) decoding: DecodingKey,
    pub(super) id: String,
    set: Value,
}

/// Shows which key it is, not the key.
impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Keys({})", self.id)
    }
}

impl Keys {
    /// The pair in `folder`, made now if there is none.
    pub fn load_or_create(folder: &Path) -> Result<Keys, KeysError> {
        let path = folder.join(FILE_NAME);
        match fs::metadata(&path) {
            Ok(_) => {}
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => create(folder, &path)?,
            Err(cause) => return Err(KeysError::Io { path, did: "read", cause }),
        }
        load(&path)
    }

    /// The JWK set that `/.well-known/jwks.json` answers: public parts alone.
    pub fn jwk_set(&self) -> &Value {
        &self.set
    }

    fn from_signing_key(key: &SigningKey, path: &Path) -> Result<Keys, KeysError> {
        let malformed = || KeysError::Malformed { path: path.to_owned() };
        let der = key.to_pkcs8_der().map_err(|_| malformed())?;
        let public = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
        // The key's id is its RFC 7638 thumbprint.
        let thumbprint =
            Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#).as_bytes());
        let id = URL_SAFE_NO_PAD.encode(thumbprint);
        Ok(Keys {
            encoding: EncodingKey::from_ed_der(der.as_bytes()),
            decoding: DecodingKey::from_ed_components(&public).map_err(|_| malformed())?,
            set: json!({"keys": [{
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": id, "x": public,
            }]}),
            id,
        })
    }
}

fn load(path: &Path) -> Result<Keys, KeysError> {
    let io = |did| move |cause| KeysError::Io { path: path.to_owned(), did, cause };
    let mode = fs::metadata(path).map_err(io("read"))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeysError::Exposed { path: path.to_owned(), mode });
    }
    let pem = fs::read_to_string(path).map_err(io("read"))?;
    let key = SigningKey::from_pkcs8_pem(&pem).map_err(|_| KeysError::Malformed { path: path.to_owned() })?;
    Keys::from_signing_key(&key, path)
}

/// Writes a new key beside `path` and links it there, so that no one ever reads half of it and the first of two wins.
fn create(folder: &Path, path: &Path) -> Result<(), KeysError> {
    let io = |did| move |cause| KeysError::Io { path: path.to_owned(), did, cause };
    fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(io("written"))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(FOLDER_MODE)).map_err(io("written"))?;
    let key = SigningKey::from_bytes(&rand::random());
    let pem = key.to_pkcs8_pem(LineEnding::LF).expect("a key that was just made has a PKCS #8 form");
    let draft = folder.join(format!("{FILE_NAME}.{}", uuid::Uuid::now_v7()));
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&draft)?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&draft, path) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(cause),
            _ => fs::File::open(folder)?.sync_all(),
        }
    })();
    let removed = fs::remove_file(&draft);
    written.and(removed).map_err(io("written"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/keys");
        let made = Keys::load_or_create(&folder).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join(FILE_NAME)), 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "the draft is gone");
        let again = Keys::load_or_create(&folder).unwrap();
        assert_eq!(made.jwk_set(), again.jwk_set());
        assert!(!made.jwk_set().to_string().contains("\"d\""), "the private part is published");
    }

    #[test]
    fn all_who_make_it_at_once_get_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let made = std::thread::scope(|scope| {
            let makers = (0..8).map(|_| scope.spawn(|| Keys::load_or_create(dir.path()).unwrap().id));
            makers.collect::<Vec<_>>().into_iter().map(|maker| maker.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(made.iter().all(|id| *id == made[0]), "{made:?}");
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Keys::load_or_create(dir.path()).unwrap();
        let path = dir.path().join(FILE_NAME);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let fault = Keys::load_or_create(dir.path()).unwrap_err().to_string();
        assert!(fault.contains("mode 640") && fault.contains("chmod 600"), "{fault}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "not a key").unwrap();
        assert!(matches!(Keys::load_or_create(dir.path()), Err(KeysError::Malformed { .. })));
    }
}
