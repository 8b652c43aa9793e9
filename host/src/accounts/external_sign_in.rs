//! The entry point for other ways to sign in: an extension has verified a person's identity, and a session begins. It
//! never checks how that was verified. All rules for passwords apply too: locked accounts, registration, second factor.

use super::{Accounts, Client, Role, SignInAnswer, email, users::User};
use crate::error::ApiError;

/// Identifies the verified person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The owner of this address.
    Email(String),
    /// The user with this id.
    UserId(String),
}

/// A person verified by an extension.
#[derive(Debug, Clone)]
pub struct ExternalIdentity {
    /// The person who signs in.
    pub who: Subject,
    /// Whether an account is created for an unknown email, if registration is enabled.
    pub create: bool,
    /// The method shown in the user's list of sessions.
    pub method: String,
    /// The address and program of the client, with the extension as the actor.
    pub client: Client,
}

impl Accounts {
    /// Signs in a person verified by an extension. A second factor is requested if the user has one.
    ///
    /// # Errors
    /// 401 `sign_in_refused`, with the same message for unknown and locked users; 403 `registration_disabled` or
    /// `setup_needed` if an account would have to be created; 422 `email_invalid`.
    pub async fn sign_in_external(&self, identity: ExternalIdentity) -> Result<SignInAnswer, ApiError> {
        let found = match &identity.who {
            Subject::UserId(id) => self.users.by_id(id).await?,
            Subject::Email(given) => {
                let email = email::normalize(given).ok_or_else(email_invalid)?;
                match self.users.by_email(&email).await? {
                    None if identity.create => Some(self.create_external(email, &identity.client).await?),
                    found => found,
                }
            }
        };
        let user = found.filter(|user| user.is_active).ok_or_else(sign_in_refused)?;
        self.sign_in(user, &identity.method, &identity.client)
            .await
            .map_err(|error| if error.code == "credentials_invalid" { sign_in_refused() } else { error })
    }

    /// Creates an account with a random password that nobody knows. The owner can set one by a reset.
    async fn create_external(&self, email: String, client: &Client) -> Result<User, ApiError> {
        self.check_claimed().await?;
        self.check_registration().await?;
        let unknown: [u8; 32] = rand::random();
        let password_hash = self.passwords.hash(unknown.map(|byte| format!("{byte:02x}")).concat()).await?;
        let user = User::new(email, password_hash, Role::User);
        match self.create(&user, &client.actor).await {
            Ok(()) => Ok(user),
            // A concurrent request created the account.
            Err(error) if error.code == "email_taken" => {
                self.users.by_email(&user.email).await?.ok_or_else(sign_in_refused)
            }
            Err(other) => Err(other),
        }
    }
}

fn sign_in_refused() -> ApiError {
    ApiError::unauthorized("sign_in_refused", "this account cannot sign in")
}

fn email_invalid() -> ApiError {
    let detail = "this is not an email address; it must look like name@example.org";
    ApiError::new(http::StatusCode::UNPROCESSABLE_ENTITY, "email_invalid", detail)
}
