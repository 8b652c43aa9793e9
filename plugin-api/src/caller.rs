//! A caller as one extension tells another in the payload of a service's call. It is as true as the extension that tells
//! it: the host looks at requests, and never into payloads.

use serde::{Deserialize, Deserializer, Serialize};

/// Whether a token with some scopes, separated by spaces, may be used for another scope.
pub use tinybase_abi::scopes::covers as scopes_cover;

use crate::Request;

/// Who called the extension that calls a service. Nobody is `null` in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerPayload {
    /// The user's id.
    pub user_id: String,
    /// The user's email, normalised.
    pub email: String,
    /// The user's role: `user`, `viewer`, `editor` or `admin`.
    pub role: String,
    /// The scopes, separated by spaces, that an application token is limited to; `None` for a signed-in user. It must be
    /// told, as `null` too: a token whose scopes were forgotten would be a user who may do everything.
    #[serde(deserialize_with = "required_nullable")]
    pub scopes: Option<String>,
}

impl CallerPayload {
    /// Whoever sent a request, to be passed on as it is; `None` for nobody.
    pub fn of(request: &Request) -> Option<CallerPayload> {
        request.caller().map(|caller| CallerPayload {
            user_id: caller.user_id().to_owned(),
            email: caller.email().to_owned(),
            role: caller.role().to_owned(),
            scopes: caller.scopes().map(str::to_owned),
        })
    }

    /// Whether the user is an admin.
    pub fn is_admin(&self) -> bool {
        self.role == "admin"
    }

    /// Whether the caller may use `scope`: a signed-in user always, an application token where it has it.
    pub fn allows(&self, scope: &str) -> bool {
        self.scopes.as_deref().is_none_or(|scopes| tinybase_abi::scopes::covers(scopes, scope))
    }
}

/// For `#[serde(deserialize_with = "…")]`: reads a member that must be there, as `null` too.
///
/// # Errors
/// What the value's own type refuses.
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
