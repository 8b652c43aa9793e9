//! Webhooks: notifies other servers of changes to records. Requests are signed as the Standard Webhooks specification
//! requires, and retried until they are accepted.
//!
//! A durable listener writes a row per hook ([`queue`]), a job takes and sends due deliveries ([`sender`]), and routes
//! manage hooks and deliveries ([`routes`], [`deliveries`]).
#![forbid(unsafe_code)]

mod access;
mod deliveries;
mod hook;
mod input;
mod owner;
mod page;
mod queue;
mod routes;
mod secret;
mod sender;
mod settings;
mod sweep;
mod time;

use std::time::Duration;

use tinybase_plugin_api::{audit::Audit, http::Http, prelude::*};

use sender::Busy;

/// How often the job checks for due deliveries.
const SEND_EVERY: Duration = Duration::from_millis(500);
/// How often old deliveries are deleted.
const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// The extension.
pub struct Webhooks {
    host: Host,
    database: Database,
    audit: Audit,
    http: Http,
    busy: Arc<Busy>,
}

#[tinybase_plugin_api::export]
impl Plugin for Webhooks {
    fn create(host: Host) -> Result<Webhooks> {
        let (database, audit, http) = (host.database()?, host.audit()?, host.http()?);
        Ok(Webhooks { host, database, audit, http, busy: Arc::default() })
    }

    fn register(registry: &mut Registry<Webhooks>) {
        routes::register(registry);
        deliveries::register(registry);
        settings::register(registry);
        for topic in queue::TOPICS {
            registry.after_durable(topic, None, Webhooks::queue_change);
        }
        registry.every(SEND_EVERY, "send", Webhooks::send_due);
        registry.every(SWEEP_EVERY, "sweep", Webhooks::sweep);
    }
}
