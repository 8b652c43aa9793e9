//! Requests that create or change a user, and their validation. It never touches the database.

use super::UserAnswer;
use crate::{
    accounts::{
        Role,
        requests::{RegisterRequest, read_email, read_new_password},
    },
    http::extract::{Fields, Input},
};

/// A user to create.
pub struct NewUser {
    pub(super) email: String,
    pub(super) password: String,
    pub(super) role: Role,
    pub(super) is_active: bool,
}

/// A change of a user; fields that are `None` stay unchanged.
pub struct UserChange {
    pub(super) email: Option<String>,
    pub(super) password: Option<String>,
    role: Option<WantedRole>,
    is_active: Option<bool>,
}

/// A role by its name, or by the flag `is_admin` of older clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WantedRole {
    Role(Role),
    Admin(bool),
}

impl WantedRole {
    /// Returns the new role of a user with the role `now`. A user who is to be no admin keeps a lower role.
    fn over(self, now: Role) -> Role {
        match self {
            WantedRole::Role(role) => role,
            WantedRole::Admin(true) => Role::Admin,
            WantedRole::Admin(false) if now.is_admin() => Role::User,
            WantedRole::Admin(false) => now,
        }
    }
}

fn read_role(fields: &mut Fields) -> Option<Option<WantedRole>> {
    let (name, flag) = (fields.optional_text("role"), fields.optional_flag("is_admin"));
    let role = match name? {
        Some(name) => {
            let role = Role::from_name(&name);
            if role.is_none() {
                fields.fault("role", "this must be one of user, viewer, editor, admin", "enum");
            }
            Some(role?)
        }
        None => None,
    };
    match (role, flag?) {
        (Some(role), Some(flag)) if role.is_admin() != flag => {
            fields.fault("is_admin", "this says otherwise than role: leave one of them out", "value_error");
            None
        }
        (Some(role), _) => Some(Some(WantedRole::Role(role))),
        (None, flag) => Some(flag.map(WantedRole::Admin)),
    }
}

impl Input for NewUser {
    fn read(fields: &mut Fields) -> Option<NewUser> {
        let credentials = RegisterRequest::read(fields);
        let (role, is_active) = (read_role(fields), fields.optional_flag("is_active"));
        let RegisterRequest { email, password } = credentials?;
        let role = role?.map_or(Role::User, |role| role.over(Role::User));
        Some(NewUser { email, password, role, is_active: is_active?.unwrap_or(true) })
    }
}

impl Input for UserChange {
    fn read(fields: &mut Fields) -> Option<UserChange> {
        let email = if fields.has("email") { read_email(fields).map(Some) } else { Some(None) };
        let password = if fields.has("password") { read_new_password(fields).map(Some) } else { Some(None) };
        let (role, is_active) = (read_role(fields), fields.optional_flag("is_active"));
        Some(UserChange { email: email?, password: password?, role: role?, is_active: is_active? })
    }
}

impl UserChange {
    /// Returns the user as it is after the change.
    pub(super) fn over(&self, before: &UserAnswer) -> UserAnswer {
        let mut after = before.clone();
        if let Some(email) = &self.email {
            after.email.clone_from(email);
        }
        if let Some(role) = self.role {
            after.role = role.over(before.role);
            after.is_admin = after.role.is_admin();
        }
        after.is_active = self.is_active.unwrap_or(before.is_active);
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::read_json;

    #[test]
    fn the_flag_of_older_clients_is_a_role() {
        let user = Role::User;
        let cases = [
            ("{}", user, "user"),
            (r#"{"is_admin": true}"#, user, "admin"),
            (r#"{"is_admin": false}"#, Role::Admin, "user"),
            (r#"{"is_admin": false}"#, Role::Editor, "editor"),
            (r#"{"role": "viewer"}"#, Role::Admin, "viewer"),
            (r#"{"role": "admin", "is_admin": true}"#, user, "admin"),
            (r#"{"role": "editor", "is_admin": false}"#, user, "editor"),
            (r#"{"role": "editor", "is_admin": true}"#, user, "422"),
            (r#"{"role": "admin", "is_admin": false}"#, user, "422"),
            (r#"{"role": "root"}"#, user, "422"),
            (r#"{"role": 1}"#, user, "422"),
            (r#"{"is_admin": "yes"}"#, user, "422"),
        ];
        for (body, now, expected) in cases {
            let told = read_json::<UserChange>(body.as_bytes())
                .map_or("422", |change| change.role.map_or(now, |role| role.over(now)).name());
            assert_eq!(told, expected, "{body} for {now}");
        }
    }
}
