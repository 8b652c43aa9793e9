//! The second factor of a sign-in: who needs it, and the check of the code. Every sign-in passes through here, whatever
//! the first factor was.

use serde_json::json;
use sha2::{Digest, Sha256};
use tinybase_abi::codec::BatchWriter;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    SecondFactorAsked,
    challenges::{CHALLENGE_TTL_SECONDS, Challenge},
    factor_check::Proved,
    requests::VerifyRequest,
    store,
};
use crate::{
    accounts::{Accounts, Client, LoginAnswer, tokens::now_seconds, users::User},
    audit::{self, Actor, ActorKind, Entry},
    error::ApiError,
};

impl Accounts {
    /// Returns the challenge for a user who has passed the first factor by `method`; `None` if no second factor is
    /// needed.
    pub(in crate::accounts) async fn second_factor_of(
        &self,
        user: &User,
        method: &str,
    ) -> Result<Option<SecondFactorAsked>, ApiError> {
        let mfa = &self.second_factors;
        if mfa.confirmed(&user.id).await?.is_none() {
            return Ok(None);
        }
        let codes_left = store::codes_left(&mfa.sql, &user.id).await? > 0;
        let challenge = Challenge::new(&user.id, user.epoch, password_mark(user), method, now_seconds());
        Ok(Some(SecondFactorAsked {
            mfa_required: true,
            mfa_ticket: mfa.challenges.seal(&challenge),
            expires_in: CHALLENGE_TTL_SECONDS,
            methods: if codes_left { vec!["totp", "recovery_code"] } else { vec!["totp"] },
        }))
    }

    /// Signs in a user by the second factor, after the first.
    ///
    /// # Errors
    /// 401 `mfa_ticket_invalid`, 401 `mfa_code_invalid`, 429 `mfa_backoff` after many wrong codes of this user.
    pub(super) async fn verify_second_factor(
        &self,
        request: VerifyRequest,
        client: &Client,
    ) -> Result<LoginAnswer, ApiError> {
        let mfa = &self.second_factors;
        let challenge =
            mfa.challenges.take_try(&request.challenge, now_seconds()).await?.ok_or_else(ticket_invalid)?;
        let user = self.users.by_id(&challenge.user_id).await?;
        let same = |user: &User| {
            user.is_active && user.epoch == challenge.epoch && password_mark(user) == challenge.password_mark
        };
        let user = user.filter(same).ok_or_else(ticket_invalid)?;
        let factor = mfa.confirmed(&user.id).await?.ok_or_else(ticket_invalid)?;
        let proved = mfa.prove(&user.id, &factor, &request.proof, code_invalid).await?;
        if !mfa.challenges.use_up(&challenge).await? {
            return Err(ticket_invalid());
        }
        let begun = self.begin_proved(&user, &challenge, &proved, client).await;
        if !matches!(begun, Ok(Some(_))) {
            mfa.challenges.give_back(&challenge).await?;
        }
        // `None` means that another request used the code, or the user was changed concurrently.
        begun?.ok_or_else(code_invalid)
    }

    async fn begin_proved(
        &self,
        user: &User,
        challenge: &Challenge,
        proved: &Proved,
        client: &Client,
    ) -> Result<Option<LoginAnswer>, ApiError> {
        let mut batch = BatchWriter::default();
        proved.push(&mut batch, &user.id);
        if let Proved::Recovery(_) = proved {
            let actor = Actor {
                kind: ActorKind::User,
                id: Some(user.id.clone()),
                name: user.email.clone(),
                ..client.actor.clone()
            };
            audit::push(&mut batch, &actor, &entry("mfa.recovery_code_use", &user.id));
        }
        let method = format!("{}+{}", challenge.method, proved.method());
        self.begin_session(user, &method, client, batch).await
    }
}

/// Returns an audit log entry about a user's second factor.
pub(super) fn entry<'a>(action: &'a str, user_id: &'a str) -> Entry<'a> {
    Entry { action, target_kind: "user", target_id: user_id, change: json!({}) }
}

/// Returns a digest that distinguishes passwords without revealing anything about them: the password hash is salted.
fn password_mark(user: &User) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(user.password_hash.reveal().as_bytes())[..12])
}

fn ticket_invalid() -> ApiError {
    let detail = "this ticket is not valid any more; sign in again from the beginning";
    ApiError::unauthorized("mfa_ticket_invalid", detail)
}

fn code_invalid() -> ApiError {
    ApiError::unauthorized("mfa_code_invalid", "the code is wrong, or was used before")
}
