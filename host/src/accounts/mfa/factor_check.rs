//! Checks proofs of the second factor, and adds the statement that uses one up. It never decides what a proof is for.

use tinybase_abi::codec::BatchWriter;

use super::{
    SecondFactors,
    recovery::{self, CodeHash},
    requests::Proof,
    store::{self, Factor},
    totp,
};
use crate::{accounts::tokens::now_seconds, error::ApiError};

/// A valid proof, to be used up by the change that it authorizes.
pub(super) enum Proved {
    /// A code's time step, and the newest step that a code may have now.
    Step(i64, i64),
    /// The recovery code with this hash.
    Recovery(CodeHash),
}

impl Proved {
    /// Returns the method's name.
    pub(super) fn method(&self) -> &'static str {
        match self {
            Proved::Step(..) => "totp",
            Proved::Recovery(_) => "recovery_code",
        }
    }

    /// Adds its use to a batch. The batch fails with a condition if another request used it first.
    pub(super) fn push(&self, batch: &mut BatchWriter, user_id: &str) {
        match self {
            Proved::Step(step, newest) => store::use_step(batch, user_id, *step, *newest),
            Proved::Recovery(hash) => store::use_code(batch, user_id, hash),
        }
    }
}

impl SecondFactors {
    /// Returns the user's second factor if it is confirmed.
    pub(super) async fn confirmed(&self, user_id: &str) -> Result<Option<Factor>, ApiError> {
        Ok(store::find(&self.sql, user_id).await?.filter(|factor| factor.confirmed))
    }

    /// Checks a proof against the user's second factor.
    ///
    /// # Errors
    /// 429 `mfa_backoff` after too many wrong codes; 500 `second_factor_unreadable` without the secrets key; otherwise
    /// the result of `wrong`, also for a code that was used before.
    pub(super) async fn prove(
        &self,
        user_id: &str,
        factor: &Factor,
        proof: &Proof,
        wrong: fn() -> ApiError,
    ) -> Result<Proved, ApiError> {
        match proof {
            Proof::Code(code) => {
                self.code_guesses.take_try(user_id).await?;
                let secret = self.open(user_id, factor)?;
                let now = now_seconds();
                let newest = totp::newest_step(now);
                let unused = |step: &i64| *step > factor.last_step || factor.last_step > newest;
                let step = totp::step_of(&secret, code, now).filter(unused).ok_or_else(wrong)?;
                self.code_guesses.succeeded(user_id).await?;
                Ok(Proved::Step(step, newest))
            }
            Proof::Recovery(code) => {
                let hash = recovery::hash(user_id, code);
                match store::has_code(&self.sql, user_id, &hash).await? {
                    true => Ok(Proved::Recovery(hash)),
                    false => Err(wrong()),
                }
            }
        }
    }

    pub(super) fn seal(&self, user_id: &str, secret: &[u8]) -> String {
        self.vault.seal(&purpose(user_id), secret)
    }

    pub(super) fn open(&self, user_id: &str, factor: &Factor) -> Result<Vec<u8>, ApiError> {
        self.vault.open(&purpose(user_id), &factor.sealed).map_err(|error| {
            tracing::error!(user_id, %error, "a second factor cannot be read");
            let detail =
                "the server cannot read this second factor, its log says why; a recovery code still works";
            ApiError {
                code: "second_factor_unreadable".into(),
                detail: detail.into(),
                ..ApiError::internal()
            }
        })
    }
}

/// Returns a 429 for too many wrong codes or passwords of a user.
pub(super) fn backoff(wait_seconds: u64) -> ApiError {
    let detail = "too many wrong tries for this account; wait, or use a recovery code";
    ApiError::too_many("mfa_backoff", detail, wait_seconds)
}

fn purpose(user_id: &str) -> String {
    format!("totp:{user_id}")
}
