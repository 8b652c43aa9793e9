//! An application token in the administration API. The token value is included only once, in the response that creates
//! it.

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::{
    accounts::Scopes,
    http::etag,
    sql::{Row, integer, optional_text, text},
};

/// An application token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenAnswer {
    /// The id: a UUID of version 7.
    pub id: String,
    /// The name.
    pub name: String,
    /// The description.
    pub description: Option<String>,
    /// The granted scopes.
    pub scopes: Vec<String>,
    /// The id of the user on whose behalf it acts.
    pub user_id: String,
    /// The email of that user.
    pub user_email: String,
    /// When it was created, RFC 3339 UTC.
    pub created_at: String,
    /// When it was last used, to the minute; `None` if never.
    pub last_used_at: Option<String>,
    /// When it expires; `None` if never.
    pub expires_at: Option<String>,
    /// The id of the parent token: the token that created it and with which it ends; `None` if a person created it.
    pub parent_id: Option<String>,
    /// Whether it is enabled.
    pub is_active: bool,
    /// Whether it works now: it is enabled, not expired, and its user may sign in.
    pub is_valid: bool,
}

/// A page of application tokens.
#[derive(Debug, Clone, Serialize)]
pub struct TokensAnswer {
    /// The tokens on the page.
    pub tokens: Vec<TokenAnswer>,
    /// The total number of tokens.
    pub total: i64,
    /// The maximum number of tokens on the page.
    pub limit: u64,
    /// The number of tokens skipped before the page.
    pub offset: u64,
}

/// A token that was just created.
#[derive(Clone, Serialize)]
pub struct TokenCreated {
    /// The token as it is listed.
    pub token: TokenAnswer,
    /// The token itself. It is returned only this once.
    pub token_value: String,
}

/// Shows which token it is, but not its value.
impl std::fmt::Debug for TokenCreated {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "TokenCreated({})", self.token.id)
    }
}

impl TokenAnswer {
    /// Reads the columns of the statements in `statements.rs`.
    pub(super) fn from_row(row: &Row, now: &str) -> TokenAnswer {
        let is_active = integer(row, 9) != 0;
        let expires_at = optional_text(row, 8);
        let is_over = expires_at.as_deref().is_some_and(|end| end <= now);
        TokenAnswer {
            id: text(row, 0),
            name: text(row, 1),
            description: optional_text(row, 2),
            scopes: text(row, 3).split_ascii_whitespace().map(str::to_owned).collect(),
            user_id: text(row, 4),
            user_email: text(row, 5),
            created_at: text(row, 6),
            last_used_at: optional_text(row, 7),
            expires_at,
            parent_id: optional_text(row, 11),
            is_active,
            is_valid: is_active && !is_over && integer(row, 10) != 0,
        }
    }

    /// Returns the ETag of the changeable fields. Use and expiry do not change it.
    pub fn tag(&self) -> String {
        let description = self.description.as_deref();
        let flags = [description.is_some(), self.is_active].map(|flag| if flag { "1" } else { "0" });
        let scopes = self.scopes.join(" ");
        etag::tag(&[&self.id, &self.name, flags[0], description.unwrap_or_default(), &scopes, flags[1]])
    }

    /// Returns the granted scopes.
    pub(super) fn granted(&self) -> Scopes {
        Scopes::new(&self.scopes).expect("what is stored was read by the same rules")
    }

    /// Returns the changeable fields, as the audit log records them.
    pub(super) fn changeable(&self) -> Map<String, Json> {
        super::object(json!({
            "name": self.name,
            "description": self.description,
            "scopes": self.scopes,
            "is_active": self.is_active,
        }))
    }
}
