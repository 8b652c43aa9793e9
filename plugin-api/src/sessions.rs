//! Ways to sign in beside the password: the extension verifies who somebody is, the host begins the session. It never
//! verifies anybody by itself.

use serde::Serialize;

use crate::Request;

/// Somebody whom the extension has verified. Name an email only where the extension knows that it is this person's: whoever
/// signs in under it gets the account of that address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignIn {
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    create: bool,
    method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
}

impl SignIn {
    /// The owner of this address, verified by `method`: `[a-z][a-z0-9_]*`, at most 32 bytes. The user's list of sessions
    /// shows it behind the extension's name.
    pub fn by_email(email: impl Into<String>, method: impl Into<String>) -> SignIn {
        SignIn { email: Some(email.into()), ..SignIn::new(method.into()) }
    }

    /// The user with this id.
    pub fn by_user_id(user_id: impl Into<String>, method: impl Into<String>) -> SignIn {
        SignIn { user_id: Some(user_id.into()), ..SignIn::new(method.into()) }
    }

    fn new(method: String) -> SignIn {
        SignIn { email: None, user_id: None, create: false, method, address: None, user_agent: None }
    }

    /// Makes an account where the email is unknown and registration is on.
    #[must_use]
    pub fn or_register(mut self) -> SignIn {
        self.create = true;
        self
    }

    /// From the client of this request: its address and what it says that it is.
    #[must_use]
    pub fn from(mut self, request: &Request) -> SignIn {
        let address = request.client_address();
        self.address = (!address.is_empty()).then(|| address.to_owned());
        self.user_agent = request.header("user-agent").map(str::to_owned);
        self
    }
}
