//! Sign-in methods other than the password. The extension verifies the person, and the host begins the session. The
//! host never verifies the person itself.

use serde::Serialize;

use crate::Request;

/// A person whom the extension has verified. Pass an email only if the extension knows that it belongs to this person:
/// they get access to the account with that address.
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
    /// Creates a sign-in for the owner of this address, verified by `method`: `[a-z][a-z0-9_]*`, at most 32 bytes. The
    /// user's list of sessions shows the method after the extension's name.
    pub fn by_email(email: impl Into<String>, method: impl Into<String>) -> SignIn {
        SignIn { email: Some(email.into()), ..SignIn::new(method.into()) }
    }

    /// Creates a sign-in for the user with this id.
    pub fn by_user_id(user_id: impl Into<String>, method: impl Into<String>) -> SignIn {
        SignIn { user_id: Some(user_id.into()), ..SignIn::new(method.into()) }
    }

    fn new(method: String) -> SignIn {
        SignIn { email: None, user_id: None, create: false, method, address: None, user_agent: None }
    }

    /// Creates an account if the email is unknown and registration is enabled.
    #[must_use]
    pub fn or_register(mut self) -> SignIn {
        self.create = true;
        self
    }

    /// Sets the client's address and user agent from this request.
    #[must_use]
    pub fn from(mut self, request: &Request) -> SignIn {
        let address = request.client_address();
        self.address = (!address.is_empty()).then(|| address.to_owned());
        self.user_agent = request.header("user-agent").map(str::to_owned);
        self
    }
}
