//! The administration over HTTP: `/api/admin/…` for users, settings, application tokens, extensions and metrics. It
//! only moves values between HTTP and the services that do the work.

mod extensions;
mod known_scopes;
mod metrics;
mod pages;
mod settings;
mod tokens;
mod users;

use std::sync::Arc;

use crate::{accounts::Accounts, config::Config, http::HostRoutes, plugins::Plugins, settings::Settings};

/// The services behind the administration.
pub struct Administered {
    /// Users and application tokens.
    pub accounts: Arc<Accounts>,
    /// The settings.
    pub settings: Arc<Settings>,
    /// The extensions; their routes define scopes.
    pub plugins: Arc<Plugins>,
    /// The configuration, which defines where extensions come from.
    pub config: Arc<Config>,
}

/// Adds the routes of the administration. Must be called after all other routes of the host were added.
pub fn routes(own: &mut HostRoutes, administered: &Administered) {
    let Administered { accounts, settings, plugins, config } = administered;
    users::routes(own, Arc::clone(accounts));
    settings::routes(own, Arc::clone(settings));
    metrics::routes(own, Arc::clone(settings), Arc::clone(plugins));
    extensions::routes(own, Arc::clone(plugins), Arc::clone(config));
    pages::routes(own, Arc::clone(plugins));
    tokens::routes(own, Arc::clone(accounts), Arc::clone(plugins));
}
