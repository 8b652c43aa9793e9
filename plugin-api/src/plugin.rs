//! The one trait of an extension.

use std::sync::Arc;

use crate::{Host, Registry, Result};

/// An extension's code. Put `#[tinybase_plugin_api::export]` on the implementation.
///
/// The host calls `create`, then `register`, then runs the migrations, then `start`; requests and events come after
/// it; `shut_down` comes once nothing is under way any more.
pub trait Plugin: Send + Sync + Sized + 'static {
    /// Makes the extension. Takes what it needs from the host; does no work yet.
    fn create(host: Host) -> Result<Self>;

    /// Says what the extension serves and listens to: the one place for all of it.
    fn register(registry: &mut Registry<Self>);

    /// Readies the extension before its first request, once its migrations have run.
    fn start(self: Arc<Self>) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Ends the extension.
    fn shut_down(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        async {}
    }
}
