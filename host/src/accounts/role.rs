//! Roles in the administration. Each includes the rights of those before it. Each route declares the role it needs.

use std::fmt;

/// A user's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Role {
    /// No access to the administration.
    #[default]
    User,
    /// Reads everything in the administration, but changes nothing.
    Viewer,
    /// Changes what is administered, but not administrators or their rights.
    Editor,
    /// May do everything, and passes every access rule.
    Admin,
}

impl Role {
    /// All roles, the one with the fewest rights first.
    pub const ALL: [Role; 4] = [Role::User, Role::Viewer, Role::Editor, Role::Admin];

    /// Returns its name, as stored and as sent to clients.
    pub fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Viewer => "viewer",
            Role::Editor => "editor",
            Role::Admin => "admin",
        }
    }

    /// Returns the role with this name.
    pub fn from_name(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Returns whether it is the role that sets `is_admin`.
    pub fn is_admin(self) -> bool {
        self == Role::Admin
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
