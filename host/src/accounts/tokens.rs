//! Access tokens: JWTs signed with Ed25519. It knows nothing of the database; whether a token is still valid, the cache
//! knows.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Header, TokenData, Validation, decode, encode, errors::ErrorKind};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{keys::Keys, users::User};

/// The longest token that is checked, in bytes.
pub(super) const TOKEN_BYTES_MAX: usize = 4096;

/// The `typ` of an access token.
const TYPE_ACCESS: &str = "access";

/// The claims of an access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// The user's id.
    pub(super) sub: String,
    /// The user's email.
    pub(super) email: String,
    /// Whether the user is an admin.
    pub(super) adm: bool,
    /// The user's epoch when the token was created; a later one invalidates it.
    pub(super) epoch: i64,
    /// The session. Tokens from before sessions existed have none, and are no longer valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sid: Option<String>,
    /// When it was created, in seconds since 1970.
    pub(super) iat: u64,
    /// When it expires, in seconds since 1970.
    pub(super) exp: u64,
    /// The token's id.
    pub(super) jti: String,
    /// The token type.
    pub(super) typ: String,
}

/// Why a token is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenFault {
    /// It was valid, but has expired.
    Expired,
    /// It was not issued by this host.
    Invalid,
}

/// Returns the seconds since 1970.
pub(super) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Creates and verifies access tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    keys: Keys,
    header: Header,
    validation: Validation,
    ttl_seconds: u64,
}

impl Tokens {
    pub(super) fn new(keys: Keys, ttl_seconds: u64) -> Tokens {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(keys.id.clone());
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = 0;
        validation.set_required_spec_claims(&["exp", "sub"]);
        Tokens { keys, header, validation, ttl_seconds }
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Creates a token for this user and session.
    pub(super) fn mint(&self, user: &User, session_id: &str) -> String {
        self.mint_with(user, session_id, now_seconds(), uuid::Uuid::now_v7())
    }

    /// Creates the access token issued at `made_at` together with the refresh token `beside`. The result is the same
    /// every time.
    pub(super) fn mint_again(&self, user: &User, session_id: &str, made_at: &str, beside: &str) -> String {
        let iat = made_at.parse().map_or(0, Timestamp::as_second);
        let hash = Sha256::new().chain_update(b"tinybase token id\0").chain_update(beside).finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        let id = uuid::Builder::from_custom_bytes(id).into_uuid();
        self.mint_with(user, session_id, u64::try_from(iat).unwrap_or(0), id)
    }

    fn mint_with(&self, user: &User, session_id: &str, iat: u64, id: uuid::Uuid) -> String {
        let claims = Claims {
            sub: user.id.clone(),
            email: user.email.clone(),
            adm: user.role.is_admin(),
            epoch: user.epoch,
            sid: Some(session_id.to_owned()),
            iat,
            exp: iat + self.ttl_seconds,
            jti: id.to_string(),
            typ: TYPE_ACCESS.to_owned(),
        };
        self.sign(&claims)
    }

    fn sign(&self, claims: &Claims) -> String {
        encode(&self.header, claims, &self.keys.encoding).expect("the key is Ed25519 and the claims are JSON")
    }

    /// Returns the claims of a token, if this host signed it and it has not expired.
    pub(super) fn verify(&self, token: &str) -> Result<Claims, TokenFault> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenFault::Invalid);
        }
        let TokenData { claims, .. } = decode::<Claims>(token, &self.keys.decoding, &self.validation)
            .map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => TokenFault::Expired,
                _ => TokenFault::Invalid,
            })?;
        // jsonwebtoken accepts a token until the end of the second in which it expires.
        match (claims.typ == TYPE_ACCESS, claims.exp > now_seconds()) {
            (true, true) => Ok(claims),
            (true, false) => Err(TokenFault::Expired),
            (false, _) => Err(TokenFault::Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;
    use crate::accounts::Role;

    fn tokens() -> (tempfile::TempDir, Tokens) {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::load_or_create(dir.path()).unwrap();
        (dir, Tokens::new(keys, 60))
    }

    fn minted(tokens: &Tokens, role: Role, epoch: i64) -> String {
        let user = User::new("a@example.org".into(), String::new(), role);
        tokens.mint(&User { id: "u1".into(), epoch, ..user }, "s1")
    }

    fn part(value: &serde_json::Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    #[test]
    fn a_token_says_what_was_signed() {
        let (_dir, tokens) = tokens();
        let claims = tokens.verify(&minted(&tokens, Role::Admin, 7)).unwrap();
        assert_eq!(
            (claims.sub.as_str(), claims.email.as_str(), claims.adm, claims.epoch),
            ("u1", "a@example.org", true, 7)
        );
        assert_eq!((claims.sid.as_deref(), claims.exp - claims.iat), (Some("s1"), 60));
    }

    #[test]
    fn forged_and_foreign_tokens_are_refused() {
        let (_dir, tokens) = tokens();
        let (_other_dir, other) = self::tokens();
        let good = minted(&tokens, Role::User, 0);
        let [head, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
        let mut claims = tokens.verify(&good).unwrap();
        claims.adm = true;
        let admin = part(&serde_json::to_value(&claims).unwrap());
        claims.typ = "other".into();
        let cases = [
            String::new(),
            "a.b.c".into(),
            format!("{head}.{admin}.{signature}"),
            format!("{}.{admin}.", part(&serde_json::json!({"alg": "none", "typ": "JWT"}))),
            format!("{}.{body}.{signature}", part(&serde_json::json!({"alg": "HS256", "typ": "JWT"}))),
            format!("{head}.{body}."),
            minted(&other, Role::Admin, 0),
            tokens.sign(&claims),
            "x".repeat(1 << 20),
        ];
        for token in cases {
            let shown = token.chars().take(60).collect::<String>();
            assert_eq!(tokens.verify(&token), Err(TokenFault::Invalid), "{shown}");
        }
    }

    #[test]
    fn a_token_ends_with_its_last_second() {
        let (_dir, tokens) = tokens();
        let mut claims = tokens.verify(&minted(&tokens, Role::User, 0)).unwrap();
        for (exp, expected) in [(now_seconds(), Err(TokenFault::Expired)), (1, Err(TokenFault::Expired))] {
            claims.exp = exp;
            assert_eq!(tokens.verify(&tokens.sign(&claims)), expected);
        }
    }
}
