//! Requests that create or change an application token, and their validation. It never touches the database.

use super::TokenAnswer;
use crate::{
    accounts::Scopes,
    http::extract::{Fields, Input},
};

/// The longest name in characters.
pub const NAME_CHARS_MAX: usize = 200;

/// The longest description in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 2000;

/// The most days until a token expires: ten years.
pub const EXPIRES_DAYS_MAX: i64 = 3650;

/// The default scopes of a token: records and functions, but no schema and no administration.
pub const SCOPES_DEFAULT: [&str; 4] =
    ["account:read", "collections:read", "collections:write", "functions:call"];

/// A token to create.
#[derive(Debug)]
pub struct NewToken {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) expires_days: Option<i64>,
    pub(super) scopes: Scopes,
    /// The scopes that were requested by name.
    pub asked: Vec<String>,
}

/// A change of a token; fields that are `None` stay unchanged.
#[derive(Debug)]
pub struct TokenChange {
    name: Option<String>,
    /// `Some(None)` removes the description.
    description: Option<Option<String>>,
    scopes: Option<Scopes>,
    is_active: Option<bool>,
}

fn read_name(fields: &mut Fields) -> Option<String> {
    let name = fields.text_of("name", 1, NAME_CHARS_MAX)?;
    if name.trim().is_empty() {
        fields.fault("name", "this must not be blank", "string_too_short");
        return None;
    }
    Some(name)
}

/// Returns `Some(None)` if the description is missing or null.
fn read_description(fields: &mut Fields) -> Option<Option<String>> {
    if !fields.has("description") {
        return Some(None);
    }
    fields.text_of("description", 0, DESCRIPTION_CHARS_MAX).map(Some)
}

fn read_scopes(fields: &mut Fields) -> Option<(Scopes, Vec<String>)> {
    let asked = fields.optional_texts("scopes")?;
    let scopes = match &asked {
        Some(asked) => Scopes::new(asked),
        None => Scopes::new(&SCOPES_DEFAULT),
    };
    match scopes {
        Ok(scopes) => Some((scopes, asked.unwrap_or_default())),
        Err(problem) => {
            fields.fault("scopes", problem, "value_error");
            None
        }
    }
}

impl Input for NewToken {
    fn read(fields: &mut Fields) -> Option<NewToken> {
        let (name, description) = (read_name(fields), read_description(fields));
        let expires_days = fields.optional_integer("expires_days", 1..=EXPIRES_DAYS_MAX);
        let (scopes, asked) = read_scopes(fields).unzip();
        Some(NewToken {
            name: name?,
            description: description?,
            expires_days: expires_days?,
            scopes: scopes?,
            asked: asked?,
        })
    }
}

impl Input for TokenChange {
    fn read(fields: &mut Fields) -> Option<TokenChange> {
        let name = if fields.has("name") { read_name(fields).map(Some) } else { Some(None) };
        let takes_away = fields.is_null("description");
        let description =
            read_description(fields).map(|given| (takes_away || given.is_some()).then_some(given));
        let scopes = if fields.has("scopes") {
            read_scopes(fields).map(|(scopes, _)| Some(scopes))
        } else {
            Some(None)
        };
        let is_active = fields.optional_flag("is_active");
        Some(TokenChange { name: name?, description: description?, scopes: scopes?, is_active: is_active? })
    }
}

impl TokenChange {
    /// Returns the token as it is after the change.
    pub(super) fn over(&self, before: &TokenAnswer) -> TokenAnswer {
        let mut after = before.clone();
        if let Some(name) = &self.name {
            after.name.clone_from(name);
        }
        if let Some(description) = &self.description {
            after.description.clone_from(description);
        }
        if let Some(scopes) = &self.scopes {
            after.scopes = scopes.iter().map(str::to_owned).collect();
        }
        after.is_active = self.is_active.unwrap_or(before.is_active);
        after
    }
}
