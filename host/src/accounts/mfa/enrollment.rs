//! Enrolls, resets and removes second factors: users their own, admins those of others. It never signs anyone in.

use tinybase_abi::codec::BatchWriter;

use super::{
    Enrollment, MfaStatus, RecoveryCodes, factor_check::Proved, recovery, requests::BothRequest, store, totp,
    verify::entry,
};
use crate::{
    accounts::{Accounts, Caller, tokens::now_seconds, users::User},
    audit::{self, Actor},
    db::DbError,
    error::ApiError,
};

impl Accounts {
    /// Returns the state of the caller's second factor.
    ///
    /// # Errors
    /// Database errors.
    pub async fn mfa_status(&self, caller: &Caller) -> Result<MfaStatus, ApiError> {
        let mfa = &self.second_factors;
        Ok(MfaStatus {
            totp_enabled: mfa.confirmed(&caller.user_id).await?.is_some(),
            recovery_codes_left: store::codes_left(&mfa.sql, &caller.user_id).await?,
        })
    }

    /// Creates a secret for the caller's app, replacing any unconfirmed one. Sign-ins do not require its codes yet.
    ///
    /// # Errors
    /// 403 `password_wrong`, 409 `mfa_enabled` if there is already a second factor.
    pub async fn enroll_totp(&self, caller: &Caller, password: String) -> Result<Enrollment, ApiError> {
        let user = self.confirmed_caller(caller, password).await?;
        let (mfa, secret) = (&self.second_factors, totp::new_secret());
        let mut batch = BatchWriter::default();
        store::enrol(&mut batch, &user.id, &mfa.seal(&user.id, &secret));
        mfa.sql.apply(batch).await.map_err(|error| or(error, enabled))?;
        let issuer = self.settings.current().await?.instance_name();
        Ok(Enrollment {
            secret: totp::in_base32(&secret),
            otpauth_url: totp::otpauth_url(&secret, &issuer, &user.email),
        })
    }

    /// Enables the second factor after a code proves that the app has the secret. Returns the recovery codes, only this
    /// once.
    ///
    /// # Errors
    /// 400 `mfa_code_invalid`, 409 `mfa_not_enrolled` or `mfa_enabled`.
    pub async fn confirm_totp(
        &self,
        caller: &Caller,
        code: &str,
        actor: &Actor,
    ) -> Result<RecoveryCodes, ApiError> {
        let (mfa, id) = (&self.second_factors, caller.user_id.as_str());
        let factor = store::find(&mfa.sql, id).await?.ok_or_else(not_enrolled)?;
        if factor.confirmed {
            return Err(enabled());
        }
        let step = totp::step_of(&mfa.open(id, &factor)?, code, now_seconds()).ok_or_else(code_invalid)?;
        let mut batch = BatchWriter::default();
        store::confirm(&mut batch, id, &factor.sealed, step);
        let codes = self.push_new_codes(&mut batch, id);
        audit::push(&mut batch, actor, &entry("mfa.enable", id));
        mfa.sql.apply(batch).await.map_err(|error| or(error, not_enrolled))?;
        Ok(codes)
    }

    /// Replaces all recovery codes by new ones.
    ///
    /// # Errors
    /// 403 `password_wrong`, 400 `mfa_code_invalid`, 409 `mfa_not_enabled`, 429 `mfa_backoff`.
    pub(super) async fn renew_recovery_codes(
        &self,
        caller: &Caller,
        request: BothRequest,
        actor: &Actor,
    ) -> Result<RecoveryCodes, ApiError> {
        let (id, proved) = (caller.user_id.as_str(), self.prove_both(caller, request).await?);
        let mut batch = BatchWriter::default();
        proved.push(&mut batch, id);
        let codes = self.push_new_codes(&mut batch, id);
        audit::push(&mut batch, actor, &entry("mfa.recovery_codes_renew", id));
        self.second_factors.sql.apply(batch).await.map_err(|error| or(error, code_invalid))?;
        Ok(codes)
    }

    /// Disables the caller's second factor.
    ///
    /// # Errors
    /// As [`Accounts::renew_recovery_codes`].
    pub(super) async fn remove_totp(
        &self,
        caller: &Caller,
        request: BothRequest,
        actor: &Actor,
    ) -> Result<(), ApiError> {
        let (id, proved) = (caller.user_id.as_str(), self.prove_both(caller, request).await?);
        let mut batch = BatchWriter::default();
        proved.push(&mut batch, id);
        store::delete(&mut batch, id);
        audit::push(&mut batch, actor, &entry("mfa.disable", id));
        self.second_factors.sql.apply(batch).await.map_err(|error| or(error, code_invalid))?;
        Ok(())
    }

    /// Disables a user's second factor on behalf of an admin, such as for a user who has lost the app and the recovery
    /// codes.
    ///
    /// # Errors
    /// 409 `mfa_not_enabled` if the user has none, or if there is no such user.
    pub async fn disable_mfa(&self, actor: &Actor, user_id: &str) -> Result<(), ApiError> {
        let mut batch = BatchWriter::default();
        store::delete(&mut batch, user_id);
        audit::push(&mut batch, actor, &entry("mfa.disable", user_id));
        self.second_factors.sql.apply(batch).await.map_err(|error| or(error, not_enabled))?;
        Ok(())
    }

    async fn prove_both(&self, caller: &Caller, request: BothRequest) -> Result<Proved, ApiError> {
        let mfa = &self.second_factors;
        let factor = mfa.confirmed(&caller.user_id).await?.ok_or_else(not_enabled)?;
        self.confirmed_caller(caller, request.password).await?;
        mfa.prove(&caller.user_id, &factor, &request.proof, code_invalid).await
    }

    /// Returns the caller's user after checking the password again, because a stolen session must not be enough here.
    async fn confirmed_caller(&self, caller: &Caller, password: String) -> Result<User, ApiError> {
        let attempt_limit = &self.second_factors.password_guesses;
        attempt_limit.take_try(&caller.user_id).await?;
        let user = self.users.by_id(&caller.user_id).await?.ok_or_else(|| {
            ApiError::unauthorized("token_revoked", "this user is no more; sign in as another")
        })?;
        if !self.passwords.verify(password, Some(user.password_hash.reveal().to_owned())).await? {
            return Err(ApiError::forbidden("password_wrong", "the password is wrong"));
        }
        attempt_limit.succeeded(&caller.user_id).await?;
        Ok(user)
    }

    /// Adds new recovery codes to a batch, replacing all older ones.
    fn push_new_codes(&self, batch: &mut BatchWriter, user_id: &str) -> RecoveryCodes {
        let codes = recovery::new_codes();
        let hashes = codes.iter().map(|code| recovery::hash(user_id, code)).collect::<Vec<_>>();
        store::replace_codes(&self.second_factors.sql, batch, user_id, &hashes);
        RecoveryCodes { recovery_codes: codes }
    }
}

/// Maps a failed condition to `refused`.
fn or(error: DbError, refused: fn() -> ApiError) -> ApiError {
    match error {
        DbError::Condition { .. } => refused(),
        other => other.into(),
    }
}

fn code_invalid() -> ApiError {
    ApiError::bad_request("mfa_code_invalid", "the code is wrong, or was used before")
}

fn not_enrolled() -> ApiError {
    ApiError::conflict("mfa_not_enrolled", "there is nothing to confirm; enrol first")
}

fn enabled() -> ApiError {
    ApiError::conflict("mfa_enabled", "there is a second factor already; switch it off first")
}

fn not_enabled() -> ApiError {
    ApiError::conflict("mfa_not_enabled", "there is no second factor")
}
