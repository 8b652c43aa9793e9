//! The Ed25519 key pair that signs access tokens: created once, stored in a file readable by the owner alone, published
//! as a JWK set. It never leaves the process except through that file.

use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{
    SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding},
};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::secrets::{self, KeyFileError};

const FILE_NAME: &str = "ed25519.pem";

/// Errors of loading or creating the signing key.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The file has other contents.
    #[error("{} is no Ed25519 key in PKCS #8 PEM; restore it from a backup, or remove it to have a new one made, which signs everyone out, and run: tinybase keys adopt", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// The key pair, ready to sign and verify.
pub struct Keys {
    pub(super) encoding: EncodingKey,
    pub(super) decoding: DecodingKey,
    pub(super) id: String,
    set: Value,
}

/// Shows which key it is, but not the key.
impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Keys({})", self.id)
    }
}

impl Keys {
    /// Loads the pair from `folder`, or creates it if there is none.
    pub fn load_or_create(folder: &Path) -> Result<Keys, KeysError> {
        let make = || {
            let key = SigningKey::from_bytes(&rand::random());
            let pem = key.to_pkcs8_pem(LineEnding::LF);
            pem.expect("a key that was just made has a PKCS #8 form").to_string()
        };
        let pem = secrets::read_or_create(folder, FILE_NAME, "signing key", make)?;
        let path = folder.join(FILE_NAME);
        let key =
            SigningKey::from_pkcs8_pem(&pem).map_err(|_| KeysError::Malformed { path: path.clone() })?;
        Keys::from_signing_key(&key, &path)
    }

    /// Returns the JWK set of `/.well-known/jwks.json`. It contains public keys only.
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

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

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
