//! What the routes of the second factor take and answer. It never touches the database, and shows no secret when debugged.

use serde::Serialize;

use crate::{
    accounts::LoginAnswer,
    http::extract::{Fields, Input},
};

/// What shows that a person has the second factor.
pub(super) enum Proof {
    /// A code of the app.
    Code(String),
    /// A recovery code.
    Recovery(String),
}

impl Proof {
    /// Takes exactly one of `code` and `recovery_code`.
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

/// A password, typed again.
pub(super) struct PasswordRequest {
    pub(super) password: String,
}

impl Input for PasswordRequest {
    fn read(fields: &mut Fields) -> Option<PasswordRequest> {
        Some(PasswordRequest { password: fields.text("password")? })
    }
}

/// A code of an app that has just taken the secret over.
pub(super) struct CodeRequest {
    pub(super) code: String,
}

impl Input for CodeRequest {
    fn read(fields: &mut Fields) -> Option<CodeRequest> {
        Some(CodeRequest { code: fields.text("code")? })
    }
}

/// Both factors, typed again.
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

/// What signing in by a first factor comes to.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum SignInAnswer {
    /// A session has begun.
    Session(LoginAnswer),
    /// The user has a second factor, which is asked for first.
    SecondFactor(SecondFactorAsked),
}

/// The second factor is asked for.
#[derive(Clone, Serialize)]
pub struct SecondFactorAsked {
    /// Always true.
    pub mfa_required: bool,
    /// What the second factor is sent with.
    pub mfa_ticket: String,
    /// For how many seconds it is good.
    pub expires_in: u64,
    /// What can be sent: `totp`, and `recovery_code` while some are left.
    pub methods: Vec<&'static str>,
}

impl std::fmt::Debug for SecondFactorAsked {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SecondFactorAsked({:?})", self.methods)
    }
}

/// How a user's second factor stands.
#[derive(Debug, Clone, Serialize)]
pub struct MfaStatus {
    /// Whether signing in asks for a code.
    pub totp_enabled: bool,
    /// How many recovery codes were not used yet.
    pub recovery_codes_left: i64,
}

/// A secret for an authenticator app, shown this once.
#[derive(Clone, Serialize)]
pub struct Enrollment {
    /// The secret in base32, to be typed.
    pub secret: String,
    /// The same as a URL, to be shown as a QR code.
    pub otpauth_url: String,
}

/// Recovery codes, shown this once.
#[derive(Clone, Serialize)]
pub struct RecoveryCodes {
    /// Each works once in the place of a code.
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
