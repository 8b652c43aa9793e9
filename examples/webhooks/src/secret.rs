//! Secrets and signatures. No secret is stored: each is derived from one key, which the host keeps encrypted, the
//! hook's id and the version of its secret. A copy of the tables alone cannot sign anything.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tinybase_plugin_api::prelude::*;

use crate::{Webhooks, hook::Hook, settings::SIGNING_KEY, time::Moment};

/// The prefix of a secret's text, required by the specification.
const PREFIX: &str = "whsec_";
/// The time after which another node creates the key, if the node that reserved it is gone.
const SETUP_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(30);

const TAKE: &str = "INSERT INTO webhooks_setup (slot, taken_at) VALUES (1, ?1) \
                    ON CONFLICT (slot) DO UPDATE SET taken_at = excluded.taken_at \
                    WHERE webhooks_setup.taken_at < ?2";

/// The key that secrets are derived from.
pub(crate) struct SigningKey(Vec<u8>);

/// A hook's secret.
pub(crate) struct Secret([u8; 32]);

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

impl SigningKey {
    fn read(text: &str) -> Result<SigningKey> {
        let key = BASE64.decode(text).ok().filter(|key| key.len() >= 24);
        let odd = || {
            Error::internal(
                "signing_key_invalid",
                "the setting signing_key is not base64 of 24 bytes or more",
            )
        };
        key.map(SigningKey).ok_or_else(odd)
    }

    /// Returns the secret with this version of a hook.
    pub(crate) fn secret(&self, hook_id: &str, version: i64) -> Secret {
        Secret(mac(
            &self.0,
            &[b"webhook secret\0", hook_id.as_bytes(), b"\0", version.to_string().as_bytes()],
        ))
    }

    /// Returns the `webhook-signature` header: signed with the hook's secret, and with the previous one while it is
    /// still valid.
    pub(crate) fn sign(&self, hook: &Hook, now: Moment, id: &str, body: &str) -> String {
        let previous =
            hook.previous_secret_until.filter(|until| now < *until).map(|_| hook.secret_version - 1);
        let versions = [Some(hook.secret_version), previous];
        let signed = versions
            .into_iter()
            .flatten()
            .map(|version| self.secret(&hook.id, version).sign(id, now.seconds(), body));
        signed.collect::<Vec<_>>().join(" ")
    }
}

impl Secret {
    /// Returns the secret in the form that the receiver's library takes.
    pub(crate) fn text(&self) -> String {
        format!("{PREFIX}{}", BASE64.encode(self.0))
    }

    fn sign(&self, id: &str, seconds: i64, body: &str) -> String {
        let signed =
            mac(&self.0, &[id.as_bytes(), b".", seconds.to_string().as_bytes(), b".", body.as_bytes()]);
        format!("v1,{}", BASE64.encode(signed))
    }
}

impl Webhooks {
    /// Returns the signing key, which exists as soon as there is a hook.
    pub(crate) async fn signing_key(&self) -> Result<SigningKey> {
        match self.settings().await?.signing_key {
            Some(key) => SigningKey::read(&key),
            None => Err(Error::internal(
                "signing_key_missing",
                "there is no signing key: make a new secret for the hook",
            )),
        }
    }

    /// Returns the signing key, and creates it if there is none. Only one node creates it, so that there are never
    /// two.
    pub(crate) async fn make_signing_key(&self) -> Result<SigningKey> {
        if let Some(key) = self.settings().await?.signing_key {
            return SigningKey::read(&key);
        }
        let now = Moment::now(self.database).await?;
        let taken =
            self.database.execute(TAKE, params![now.text(), now.before(SETUP_TIME_MAX).text()]).await?;
        if taken == 0 {
            let message = "another node is making the signing key: try again in a moment";
            return Err(Error::new(503, "signing_key_busy", message).retryable());
        }
        let key = BASE64.encode(rand::random::<[u8; 32]>());
        self.host.update_settings(&json!({SIGNING_KEY: key})).await?;
        SigningKey::read(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the specification.
    #[test]
    fn a_signature_is_the_one_that_receivers_expect() {
        let secret = BASE64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = mac(
            &secret,
            &[b"msg_p5jXN8AQM9LWM0D4loKWxJek", b".", b"1614265330", b".", br#"{"test": 2432232314}"#],
        );
        assert_eq!(BASE64.encode(signed), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_hook_and_each_number_has_a_secret_of_its_own() {
        let key = SigningKey::read(&BASE64.encode([7; 32])).unwrap();
        let texts =
            [("a", 1), ("a", 2), ("b", 1), ("a\u{0}1", 1)].map(|(id, number)| key.secret(id, number).text());
        for (position, text) in texts.iter().enumerate() {
            assert!(text.starts_with(PREFIX) && BASE64.decode(&text[PREFIX.len()..]).unwrap().len() == 32);
            assert!(!texts[..position].contains(text));
        }
        assert_eq!(key.secret("a", 1).text(), texts[0]);
        assert!(SigningKey::read("short").is_err());
    }
}
