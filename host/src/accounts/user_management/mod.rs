//! User management in the administration: who may change whom. Each change is one batch with its audit log entry. It
//! never leaves the instance without an admin, even under concurrent changes.

mod answer;
mod change;
mod list;
mod statements;

use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use tinybase_abi::codec::{BatchWriter, ValueRef};

use super::{
    AccountEvent, Accounts, Caller, Role,
    service::{email_taken, refused_by_hook},
    users::{self, User},
};
use crate::{
    audit::{self, Actor, Entry},
    db::DbError,
    error::ApiError,
    http::etag::IfMatch,
    sql::ApplyAfterError,
};

pub use answer::{UserAnswer, UsersAnswer};
pub use change::{NewUser, UserChange};
pub use list::{UserSort, UsersAsked};

/// The scope, in addition to `admin:users:write`, that an application token needs to change roles or users who have
/// one.
pub const ROLES_SCOPE: &str = "admin:roles:write";

/// How often a change is retried after a concurrent change of the same user.
const ATTEMPTS_MAX: usize = 8;

/// How long the deletion of a user, with all dependent data, may occupy the database.
const DELETE_TIME_MAX: Duration = Duration::from_secs(30);

impl Accounts {
    /// Returns a page of users, with the total number of matches.
    ///
    /// # Errors
    /// Database errors.
    pub async fn list_users(&self, asked: &UsersAsked) -> Result<UsersAnswer, ApiError> {
        Ok(list::page(self.users.sql(), asked).await?)
    }

    /// Returns a user.
    ///
    /// # Errors
    /// 404 `user_not_found`.
    pub async fn user(&self, id: &str) -> Result<UserAnswer, ApiError> {
        let row = self.users.sql().row(statements::BY_ID, &[ValueRef::Text(id)]).await?;
        row.map(|row| UserAnswer::from_row(&row)).ok_or_else(user_not_found)
    }

    /// Creates a user.
    ///
    /// # Errors
    /// 400 `email_taken`; 403 `role_required` or `scope_missing` if the caller may not grant that role.
    pub async fn create_user(
        &self,
        caller: &Caller,
        actor: &Actor,
        new: NewUser,
    ) -> Result<UserAnswer, ApiError> {
        check_reach(caller, [Role::User, new.role])?;
        if self.users.by_email(&new.email).await?.is_some() {
            return Err(email_taken());
        }
        let password_hash = self.passwords.hash(new.password).await?;
        let user = User::new(new.email, password_hash, new.role);
        let mut batch = BatchWriter::default();
        users::insert(&mut batch, &user);
        if !new.is_active {
            statements::deactivate(&mut batch, &user.id);
        }
        let told = json!({"email": user.email, "role": user.role.name(), "is_active": new.is_active});
        push_entry(&mut batch, actor, "user.create", &user.id, audit::changed(&Map::new(), &object(told)));
        let own = batch.len();
        let event = user.event("user.create");
        self.events().before(&event, &mut batch).await?;
        self.users.sql().apply(batch).await.map_err(|error| refused(error, own))?;
        self.events().after(event);
        self.user(&user.id).await
    }

    /// Changes a user. A new password or email, or a deactivation, ends the user's sessions, except the current one of
    /// the caller. A new role invalidates the access tokens with the old one.
    ///
    /// # Errors
    /// 404 `user_not_found`; 412 `precondition_failed`; 400 `email_taken`, `last_admin` and `own_account`; 403
    /// `role_required` and `scope_missing`.
    pub async fn update_user(
        &self,
        caller: &Caller,
        actor: &Actor,
        id: &str,
        if_match: &IfMatch,
        change: UserChange,
    ) -> Result<UserAnswer, ApiError> {
        let mut password_hash = None;
        for _ in 0..ATTEMPTS_MAX {
            let before = self.user(id).await?;
            let after = change.over(&before);
            check_reach(caller, [before.role, after.role])?;
            if_match.check(&before.tag())?;
            self.check_stays_administrable(caller, &before, Some(&after)).await?;
            if let (None, Some(password)) = (&password_hash, &change.password) {
                password_hash = Some(self.passwords.hash(password.clone()).await?);
            }
            if after == before && password_hash.is_none() {
                return Ok(before);
            }
            if self.try_update(caller, actor, &before, &after, password_hash.as_deref()).await? {
                return self.user(id).await;
            }
        }
        Err(contended())
    }

    /// Tries the change once. Returns false if a concurrent change was first.
    async fn try_update(
        &self,
        caller: &Caller,
        actor: &Actor,
        before: &UserAnswer,
        after: &UserAnswer,
        password_hash: Option<&str>,
    ) -> Result<bool, ApiError> {
        let mut batch = BatchWriter::default();
        statements::update(self.users.sql(), &mut batch, before, after, password_hash);
        if password_hash.is_some() || before.email != after.email || !after.is_active {
            let is_own = caller.user_id == before.id;
            let kept = caller.session_id.as_deref().filter(|_| is_own);
            Accounts::end_sessions(&mut batch, &before.id, kept);
        }
        push_entry(&mut batch, actor, "user.update", &before.id, told_change(before, after, password_hash));
        let own = batch.len();
        let event = after.event("user.update");
        self.events().before(&event, &mut batch).await?;
        match self.users.sql().apply(batch).await {
            Ok(_) => {
                self.user_changed(&before.id);
                self.events().after(event);
                Ok(true)
            }
            Err(DbError::Condition { statement, .. }) if statement < own => Ok(false),
            Err(error) => Err(refused(error, own)),
        }
    }

    /// Removes a user's second factor, such as for a user who has lost the app and the recovery codes.
    ///
    /// # Errors
    /// 404 `user_not_found`; 403 `role_required` and `scope_missing`; 409 `mfa_not_enabled`.
    pub async fn take_second_factor(&self, caller: &Caller, actor: &Actor, id: &str) -> Result<(), ApiError> {
        let user = self.user(id).await?;
        check_reach(caller, [user.role, Role::User])?;
        self.disable_mfa(actor, id).await
    }

    /// Deletes a user, with sessions and application tokens. The schemas of records that refer to the user define what
    /// happens to those records.
    ///
    /// # Errors
    /// 404 `user_not_found`; 412 `precondition_failed`; 400 `last_admin` and `own_account`; 403 `role_required` and
    /// `scope_missing`; 409 `user_referenced`.
    pub async fn delete_user(
        &self,
        caller: &Caller,
        actor: &Actor,
        id: &str,
        if_match: &IfMatch,
    ) -> Result<(), ApiError> {
        let mut refusal = contended();
        for _ in 0..ATTEMPTS_MAX {
            let user = self.user(id).await?;
            check_reach(caller, [user.role, Role::User])?;
            if_match.check(&user.tag())?;
            self.check_stays_administrable(caller, &user, None).await?;
            match self.try_delete(actor, &user).await? {
                None => return Ok(()),
                Some(changed) => refusal = changed,
            }
        }
        Err(refusal)
    }

    /// Tries the deletion once. Returns `None` on success. After a concurrent change, returns the error to report
    /// unless a retry succeeds.
    async fn try_delete(&self, actor: &Actor, user: &UserAnswer) -> Result<Option<ApiError>, ApiError> {
        let event = user.event("user.delete");
        let (mut hooks, mut batch) = (BatchWriter::default(), BatchWriter::default());
        self.events().before(&event, &mut hooks).await?;
        statements::delete(self.users.sql(), &mut batch, user);
        let told = json!({"email": user.email, "role": user.role.name(), "is_active": user.is_active});
        push_entry(&mut batch, actor, "user.delete", &user.id, audit::changed(&object(told), &Map::new()));
        match self.users.sql().apply_after(hooks, batch, DELETE_TIME_MAX).await {
            Ok(_) => {
                self.user_changed(&user.id);
                self.events().after(event);
                Ok(None)
            }
            Err(ApplyAfterError::Own(DbError::Condition { .. })) => Ok(Some(contended())),
            // The retry runs the hooks again on the current data.
            Err(ApplyAfterError::Hooks(error @ DbError::Condition { .. })) => {
                Ok(Some(refused_by_hook(error, 0)))
            }
            // An extension may delete records that refer to the user before the database does.
            Err(ApplyAfterError::Own(DbError::ForeignKey) | ApplyAfterError::Hooks(DbError::ForeignKey)) => {
                Err(ApiError::conflict(
                    "user_referenced",
                    "records refer to this user and may not lose it: delete or change them first, or deactivate the user",
                ))
            }
            Err(ApplyAfterError::Own(error)) => Err(error.into()),
            Err(ApplyAfterError::Hooks(error)) => Err(refused_by_hook(error, 0)),
        }
    }

    /// Refuses changes that would leave no admin, or lock out the caller. The statement of the change checks the former
    /// again, in case of concurrent changes.
    async fn check_stays_administrable(
        &self,
        caller: &Caller,
        before: &UserAnswer,
        after: Option<&UserAnswer>,
    ) -> Result<(), ApiError> {
        let falls =
            after.is_none_or(|after| after.role < before.role || (before.is_active && !after.is_active));
        if !falls {
            return Ok(());
        }
        let is_admin = before.role.is_admin() && before.is_active;
        let stays_admin = after.is_some_and(|after| after.role.is_admin() && after.is_active);
        if is_admin && !stays_admin {
            let other = self.users.sql().row(statements::OTHER_ADMIN, &[ValueRef::Text(&before.id)]).await?;
            if other.is_none() {
                return Err(ApiError::bad_request(
                    "last_admin",
                    "this is the last admin that is active: make another user an admin first",
                ));
            }
        }
        if caller.user_id == before.id {
            return Err(ApiError::bad_request(
                "own_account",
                "nobody deletes, deactivates or demotes the own account: another admin has to do it",
            ));
        }
        Ok(())
    }
}

impl UserAnswer {
    fn event(&self, name: &'static str) -> AccountEvent {
        AccountEvent { name, user_id: self.id.clone(), email: self.email.clone(), role: self.role }
    }
}

/// Checks the caller's reach: a caller who is no admin may only change users without a role, and may not grant roles.
fn check_reach(caller: &Caller, roles: [Role; 2]) -> Result<(), ApiError> {
    if roles == [Role::User; 2] {
        return Ok(());
    }
    if !caller.role.is_admin() {
        return Err(ApiError::forbidden(
            "role_required",
            "only an administrator may give a role, or change a user who has one",
        ));
    }
    if caller.scopes.as_ref().is_some_and(|scopes| !scopes.covers(ROLES_SCOPE)) {
        let detail = format!("this application token lacks the scope {ROLES_SCOPE}");
        return Err(ApiError::forbidden("scope_missing", detail));
    }
    Ok(())
}

fn told_change(before: &UserAnswer, after: &UserAnswer, password_hash: Option<&str>) -> Json {
    let fields = |user: &UserAnswer| {
        object(json!({"email": user.email, "role": user.role.name(), "is_active": user.is_active}))
    };
    let mut told = audit::changed(&fields(before), &fields(after));
    if password_hash.is_some() {
        told["password"] = json!("changed");
    }
    told
}

fn push_entry(batch: &mut BatchWriter, actor: &Actor, action: &str, id: &str, change: Json) {
    audit::push(batch, actor, &Entry { action, target_kind: "user", target_id: id, change });
}

fn object(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(object) => object,
        _ => Map::new(),
    }
}

fn refused(error: DbError, own: usize) -> ApiError {
    match error {
        DbError::Unique { ref table, .. } if table == "tb_users" => email_taken(),
        other => refused_by_hook(other, own),
    }
}

fn user_not_found() -> ApiError {
    ApiError::not_found("user_not_found", "there is no user with this id")
}

fn contended() -> ApiError {
    ApiError::unavailable("user_contended", "this user is changing all the time; try again shortly")
}
