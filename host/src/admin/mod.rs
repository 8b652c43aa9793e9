//! The administration over HTTP: `/api/admin/…` for users, settings, application tokens and metrics. It only moves values
//! between HTTP and the services that do the work.

mod known_scopes;
mod metrics;
mod settings;
mod tokens;
mod users;

use std::sync::Arc;

use crate::{accounts::Accounts, http::OwnRoutes, plugins::Plugins, settings::Settings};

/// What the administration administers.
pub struct Administered {
    /// Users and application tokens.
    pub accounts: Arc<Accounts>,
    /// The settings.
    pub settings: Arc<Settings>,
    /// The extensions, whose routes ask for scopes.
    pub plugins: Arc<Plugins>,
}

/// Adds the routes of the administration, behind all others of the host.
pub fn routes(own: &mut OwnRoutes, administered: &Administered) {
    let Administered { accounts, settings, plugins } = administered;
    users::routes(own, Arc::clone(accounts));
    settings::routes(own, Arc::clone(settings));
    metrics::routes(own, Arc::clone(settings), Arc::clone(plugins));
    tokens::routes(own, Arc::clone(accounts), Arc::clone(plugins));
}
