//! The administration over HTTP: `/api/admin/…` for users, settings, application tokens and metrics. It only moves values
//! between HTTP and the services that do the work.

mod known_scopes;
mod tokens;
mod users;

use std::sync::Arc;

use crate::{accounts::Accounts, http::OwnRoutes, plugins::Plugins};

/// What the administration administers.
pub struct Administered {
    /// Users and application tokens.
    pub accounts: Arc<Accounts>,
    /// The extensions, whose routes ask for scopes.
    pub plugins: Arc<Plugins>,
}

/// Adds the routes of the administration, behind all others of the host.
pub fn routes(own: &mut OwnRoutes, administered: &Administered) {
    let Administered { accounts, plugins } = administered;
    users::routes(own, Arc::clone(accounts));
    tokens::routes(own, Arc::clone(accounts), Arc::clone(plugins));
}
