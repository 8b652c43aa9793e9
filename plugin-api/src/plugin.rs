//! The trait that every extension implements.

use std::sync::Arc;

use crate::{Host, Registry, Result};

/// An extension's code. Put `#[tinybase_plugin_api::export]` on the implementation.
///
/// The host calls `create`, then `register`, then runs the migrations, then calls `start`. Requests and events
/// follow. `shut_down` is called last, once no work is in progress.
pub trait Plugin: Send + Sync + Sized + 'static {
    /// Creates the extension. Takes what it needs from the host, but does no work yet.
    fn create(host: Host) -> Result<Self>;

    /// Declares everything that the extension serves and listens to.
    fn register(registry: &mut Registry<Self>);

    /// Prepares the extension for its first request, after its migrations have run.
    fn start(self: Arc<Self>) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Stops the extension.
    fn shut_down(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        async {}
    }
}
