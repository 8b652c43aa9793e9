//! The door for other ways to sign in: an extension has verified who somebody is, and a session begins. It never looks at
//! how that was verified, and lets nobody past what holds for a password: a locked account, registration, the second factor.

use super::{Accounts, Client, Role, SignInAnswer, email, users::User};
use crate::error::ApiError;

/// Whom an extension has verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The owner of this address.
    Email(String),
    /// The user with this id.
    UserId(String),
}

/// Somebody whom an extension has verified.
#[derive(Debug, Clone)]
pub struct ExternalIdentity {
    /// Who signs in.
    pub who: Subject,
    /// Whether an unknown email gets an account, where registration is on.
    pub create: bool,
    /// What the user's list of sessions shows.
    pub method: String,
    /// From where, with what, and the extension as the actor.
    pub client: Client,
}

impl Accounts {
    /// Signs in whom an extension has verified; a user with a second factor is asked for it.
    ///
    /// # Errors
    /// 401 `sign_in_refused`, in the same words for an unknown user and a locked one; 403 `registration_disabled` or
    /// `setup_needed` where an account would have to be made; 422 `email_invalid`.
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

    /// An account whose password nobody knows: its owner sets one by a reset, or never needs one.
    async fn create_external(&self, email: String, client: &Client) -> Result<User, ApiError> {
        self.check_claimed().await?;
        self.check_registration().await?;
        let unknown: [u8; 32] = rand::random();
        let password_hash = self.passwords.hash(unknown.map(|byte| format!("{byte:02x}")).concat()).await?;
        let user = User::new(email, password_hash, Role::User);
        match self.create(&user, &client.actor).await {
            Ok(()) => Ok(user),
            // Another request made the account in between.
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
