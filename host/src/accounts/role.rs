//! Roles: how far a user reaches in the administration. Each may do what those before it may. What a role may do where,
//! each route says of itself.

use std::fmt;

/// A user's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Role {
    /// No part in the administration.
    #[default]
    User,
    /// Sees what is administered, and changes nothing.
    Viewer,
    /// Changes what is administered, but not who administers and how.
    Editor,
    /// Does everything, and passes every access rule.
    Admin,
}

impl Role {
    /// Every role, the one that reaches least first.
    pub const ALL: [Role; 4] = [Role::User, Role::Viewer, Role::Editor, Role::Admin];

    /// Its name, as it is stored and answered.
    pub fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Viewer => "viewer",
            Role::Editor => "editor",
            Role::Admin => "admin",
        }
    }

    /// The role of this name.
    pub fn from_name(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether it is the role that `is_admin` stands for.
    pub fn is_admin(self) -> bool {
        self == Role::Admin
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
