//! The caller's identity in the payload of a service call between extensions. It is as trustworthy as the extension
//! that sends it: the host verifies requests, but never looks into payloads.

use serde::{Deserialize, Deserializer, Serialize};

/// Returns whether a token with some scopes, separated by spaces, may be used for another scope.
pub use tinybase_abi::scopes::covers as scopes_cover;

use crate::Request;

/// The caller of the extension that calls a service. For an anonymous caller, pass `null` instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerPayload {
    /// The user's id.
    pub user_id: String,
    /// The user's email, normalised.
    pub email: String,
    /// The user's role: `user`, `viewer`, `editor` or `admin`.
    pub role: String,
    /// The scopes of an application token, separated by spaces; `None` for a signed-in user. The field must be present,
    /// even if it is `null`: without it, a limited token would pass for a user with all rights.
    #[serde(deserialize_with = "required_nullable")]
    pub scopes: Option<String>,
}

impl CallerPayload {
    /// Returns the sender of a request, to be passed on unchanged; `None` for an anonymous request.
    pub fn of(request: &Request) -> Option<CallerPayload> {
        request.caller().map(|caller| CallerPayload {
            user_id: caller.user_id().to_owned(),
            email: caller.email().to_owned(),
            role: caller.role().to_owned(),
            scopes: caller.scopes().map(str::to_owned),
        })
    }

    /// Returns whether the user is an admin.
    pub fn is_admin(&self) -> bool {
        self.role == "admin"
    }

    /// Returns whether the caller may use `scope`: always for a signed-in user, only with that scope for an
    /// application token.
    pub fn allows(&self, scope: &str) -> bool {
        self.scopes.as_deref().is_none_or(|scopes| tinybase_abi::scopes::covers(scopes, scope))
    }
}

/// Reads a field that must be present but may be `null`. For `#[serde(deserialize_with = "…")]`.
///
/// # Errors
/// Fails if the value's own type rejects it.
pub fn required_nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_never_loses_its_scopes_on_the_way() {
        let user = json!({"user_id": "u", "email": "u@x.y", "role": "user"});
        assert!(
            serde_json::from_value::<CallerPayload>(user.clone()).is_err(),
            "scopes are told or it is refused"
        );
        let with = |scopes: serde_json::Value| {
            let mut told = user.clone();
            told["scopes"] = scopes;
            serde_json::from_value::<CallerPayload>(told).expect("it is whole")
        };
        assert!(with(json!(null)).allows("anything"));
        assert!(with(json!("a:read b")).allows("a:read:x") && !with(json!("a:read")).allows("b"));
        assert!(!with(json!("")).allows("a"));
        assert!(!with(json!(null)).is_admin());
    }
}
