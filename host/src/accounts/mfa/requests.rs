//! Request and response bodies of the second factor's routes. It never touches the database, and its `Debug` output
//! contains no secrets.

use serde::Serialize;

use crate::{
    accounts::LoginAnswer,
    http::extract::{Fields, Input},
};

/// A proof of the second factor.
pub(super) enum Proof {
    /// A code of the app.
    Code(String),
    /// A recovery code.
    Recovery(String),
}

impl Proof {
    /// Reads exactly one of `code` and `recovery_code`.
    fn read(fields: &mut Fields) -> Option<Proof> {
        let (code, recovery_code) = (fields.optional_text("code"), fields.optional_text("recovery_code"));
        match (code?, recovery_code?) {
            (Some(code), None) => Some(Proof::Code(code)),
            (None, Some(code)) => Some(Proof::Recovery(code)),
            (None, None) => {
                fields.fault("code", "send either this or recovery_code", "missing");
                None
            }
            (Some(_), Some(_)) => {
                fields.fault("recovery_code", "send either this or code, not both", "value_error");
                None
            }
        }
    }
}

/// The password, entered again.
pub(super) struct PasswordRequest {
    pub(super) password: String,
}

impl Input for PasswordRequest {
    fn read(fields: &mut Fields) -> Option<PasswordRequest> {
        Some(PasswordRequest { password: fields.text("password")? })
    }
}

/// A code of an app that has just received the secret.
pub(super) struct CodeRequest {
    pub(super) code: String,
}

impl Input for CodeRequest {
    fn read(fields: &mut Fields) -> Option<CodeRequest> {
        Some(CodeRequest { code: fields.text("code")? })
    }
}

/// Both factors, entered again.
pub(super) struct BothRequest {
    pub(super) password: String,
    pub(super) proof: Proof,
}

impl Input for BothRequest {
    fn read(fields: &mut Fields) -> Option<BothRequest> {
        let (password, proof) = (fields.text("password"), Proof::read(fields));
        Some(BothRequest { password: password?, proof: proof? })
    }
}

/// The second factor of a sign-in.
pub(super) struct VerifyRequest {
    pub(super) challenge: String,
    pub(super) proof: Proof,
}

impl Input for VerifyRequest {
    fn read(fields: &mut Fields) -> Option<VerifyRequest> {
        let (challenge, proof) = (fields.text("mfa_ticket"), Proof::read(fields));
        Some(VerifyRequest { challenge: challenge?, proof: proof? })
    }
}

/// The result of a first factor.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum SignInAnswer {
    /// A session has begun.
    Session(LoginAnswer),
    /// The user has a second factor, which is required first.
    SecondFactor(SecondFactorAsked),
}

/// The response that requires the second factor.
#[derive(Clone, Serialize)]
pub struct SecondFactorAsked {
    /// Always true.
    pub mfa_required: bool,
    /// The sealed challenge, to be sent with the second factor.
    pub mfa_ticket: String,
    /// The number of seconds until it expires.
    pub expires_in: u64,
    /// The accepted methods: `totp`, and `recovery_code` while some are left.
    pub methods: Vec<&'static str>,
}

impl std::fmt::Debug for SecondFactorAsked {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SecondFactorAsked({:?})", self.methods)
    }
}

/// The state of a user's second factor.
#[derive(Debug, Clone, Serialize)]
pub struct MfaStatus {
    /// Whether sign-in requires a code.
    pub totp_enabled: bool,
    /// The number of unused recovery codes.
    pub recovery_codes_left: i64,
}

/// A secret for an authenticator app, shown this once.
#[derive(Clone, Serialize)]
pub struct Enrollment {
    /// The secret in base32, for typing.
    pub secret: String,
    /// The secret as a URL, for a QR code.
    pub otpauth_url: String,
}

/// Recovery codes, shown this once.
#[derive(Clone, Serialize)]
pub struct RecoveryCodes {
    /// The codes; each works once instead of a code of the app.
    pub recovery_codes: Vec<String>,
}

macro_rules! hide {
    ($($Answer:ident)*) => {$(
        impl std::fmt::Debug for $Answer {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(stringify!($Answer))
            }
        }
    )*};
}
hide!(Enrollment RecoveryCodes);
