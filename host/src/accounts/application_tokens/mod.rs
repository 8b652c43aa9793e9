//! Application tokens: programs that act on behalf of the admin who created the token, within its scopes. Each works
//! until it is deleted or disabled, expires, or its admin is deactivated or deleted. A token created by another token
//! never outlives it and never has wider scopes. The token value is returned once and never stored.

mod answer;
mod descent;
mod input;
mod statements;
mod usage;
mod verify;

use serde_json::{Map, Value as Json, json};
use tinybase_abi::codec::{BatchWriter, ValueRef};

use super::{Accounts, Caller, Scopes};
use crate::{
    audit::{self, Actor, Entry},
    db::DbError,
    error::ApiError,
    http::{etag::IfMatch, query::Page},
    sql::{integer, time_from_now},
};

pub use answer::{TokenAnswer, TokenCreated, TokensAnswer};
pub use input::{
    DESCRIPTION_CHARS_MAX, EXPIRES_DAYS_MAX, NAME_CHARS_MAX, NewToken, SCOPES_DEFAULT, TokenChange,
};
pub(super) use usage::Usage;
pub(super) use verify::has_form;

const SECONDS_PER_DAY: i64 = 86_400;

/// How often a change is retried after a concurrent change of the same token.
const ATTEMPTS_MAX: usize = 8;

impl Accounts {
    /// Returns a page of application tokens, newest first.
    ///
    /// # Errors
    /// Database errors.
    pub async fn list_application_tokens(&self, page: Page) -> Result<TokensAnswer, ApiError> {
        let sql = self.users.sql();
        let total = sql.scan(statements::COUNT, &[]).await?.first().map_or(0, |row| integer(row, 0));
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX).into();
        let rows = sql.scan(statements::PAGE, &[number(page.limit), number(page.offset)]).await?;
        let now = time_from_now(0);
        let tokens = rows.iter().map(|row| TokenAnswer::from_row(row, &now)).collect();
        Ok(TokensAnswer { tokens, total, limit: page.limit, offset: page.offset })
    }

    /// Returns an application token.
    ///
    /// # Errors
    /// 404 `application_token_not_found`.
    pub async fn application_token(&self, id: &str) -> Result<TokenAnswer, ApiError> {
        let row = self.users.sql().row(statements::BY_ID, &[ValueRef::Text(id)]).await?;
        row.map(|row| TokenAnswer::from_row(&row, &time_from_now(0))).ok_or_else(not_found)
    }

    /// Creates an application token that acts on the caller's behalf. A token that creates another cannot grant it
    /// scopes it lacks itself, or a longer life.
    ///
    /// # Errors
    /// 403 `scope_missing` and `application_token_depth`; 401 `token_revoked` if the creating token has just ended.
    pub async fn create_application_token(
        &self,
        caller: &Caller,
        actor: &Actor,
        new: NewToken,
    ) -> Result<TokenCreated, ApiError> {
        check_grants(caller, &new.scopes)?;
        let parent = self.parent_of_new(caller).await?;
        let (id, value) = (uuid::Uuid::now_v7().to_string(), verify::make());
        let expires_at = new.expires_days.map(|days| time_from_now(days * SECONDS_PER_DAY));
        let expires_at =
            descent::earlier(expires_at, parent.as_ref().and_then(|parent| parent.expires_at.clone()));
        let mut batch = BatchWriter::default();
        statements::hold(self.users.sql(), &mut batch, &caller.user_id);
        let insert = statements::Insert {
            id: &id,
            hash: &verify::hash(&value),
            user_id: &caller.user_id,
            new: &new,
            expires_at: expires_at.as_deref(),
            parent: parent.as_ref(),
        };
        statements::insert(&mut batch, &insert);
        let told = json!({
            "name": new.name,
            "description": new.description,
            "scopes": new.scopes.iter().collect::<Vec<_>>(),
            "expires_at": expires_at,
        });
        push_entry(
            &mut batch,
            actor,
            "application_token.create",
            &id,
            audit::changed(&Map::new(), &object(told)),
        );
        match self.users.sql().apply(batch).await {
            Ok(_) => Ok(TokenCreated { token: self.application_token(&id).await?, token_value: value }),
            Err(DbError::Condition { .. }) => Err(descent::parent_ended()),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes an application token.
    ///
    /// # Errors
    /// - 404 `application_token_not_found`.
    /// - 412 `precondition_failed`.
    /// - 403 `scope_missing` if the change enables the token or changes its scopes, and the token would have a scope
    ///   that the calling token or the token's parent lacks.
    /// - 409 `application_token_parent_ended` if the parent is disabled.
    pub async fn update_application_token(
        &self,
        caller: &Caller,
        actor: &Actor,
        id: &str,
        if_match: &IfMatch,
        change: TokenChange,
    ) -> Result<TokenAnswer, ApiError> {
        for _ in 0..ATTEMPTS_MAX {
            let before = self.application_token(id).await?;
            let after = change.over(&before);
            if_match.check(&before.tag())?;
            if (after.is_active && !before.is_active) || after.scopes != before.scopes {
                check_grants(caller, &after.granted())?;
            }
            let told = audit::changed(&before.changeable(), &after.changeable());
            if told.as_object().is_none_or(Map::is_empty) {
                return Ok(before);
            }
            let mut batch = BatchWriter::default();
            statements::hold(self.users.sql(), &mut batch, &before.user_id);
            self.push_descent(&mut batch, &before, &after).await?;
            statements::update(&mut batch, &before, &after);
            push_entry(&mut batch, actor, "application_token.update", id, told);
            match self.users.sql().apply(batch).await {
                Ok(_) => {
                    self.user_changed(&before.user_id);
                    return self.application_token(id).await;
                }
                Err(DbError::Condition { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended())
    }

    /// Deletes an application token permanently.
    ///
    /// # Errors
    /// 404 `application_token_not_found`; 412 `precondition_failed`.
    pub async fn delete_application_token(
        &self,
        actor: &Actor,
        id: &str,
        if_match: &IfMatch,
    ) -> Result<(), ApiError> {
        for _ in 0..ATTEMPTS_MAX {
            let before = self.application_token(id).await?;
            if_match.check(&before.tag())?;
            let mut batch = BatchWriter::default();
            statements::delete(&mut batch, &before);
            let told = audit::changed(&before.changeable(), &Map::new());
            push_entry(&mut batch, actor, "application_token.delete", id, told);
            match self.users.sql().apply(batch).await {
                Ok(_) => {
                    self.user_changed(&before.user_id);
                    return Ok(());
                }
                // The token was changed or deleted since it was read.
                Err(DbError::Condition { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(contended())
    }
}

fn contended() -> ApiError {
    ApiError::unavailable(
        "application_token_contended",
        "this token is changing all the time; try again shortly",
    )
}

/// Checks that a token grants only scopes it has itself. A person who may create tokens may grant any scope.
fn check_grants(caller: &Caller, scopes: &Scopes) -> Result<(), ApiError> {
    let Some(own) = &caller.scopes else { return Ok(()) };
    match scopes.iter().find(|scope| !own.covers(scope)) {
        None => Ok(()),
        Some(beyond) => Err(ApiError::forbidden(
            "scope_missing",
            format!("an application token grants no scope that it lacks itself: {beyond}"),
        )),
    }
}

fn push_entry(batch: &mut BatchWriter, actor: &Actor, action: &str, id: &str, change: Json) {
    audit::push(batch, actor, &Entry { action, target_kind: "application_token", target_id: id, change });
}

fn object(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(object) => object,
        _ => Map::new(),
    }
}

fn not_found() -> ApiError {
    ApiError::not_found("application_token_not_found", "there is no application token with this id")
}
