//! Records: their routes, and the one path of every change of a record.

mod aggregate;
mod answer;
mod batch;
mod cascade;
mod events;
mod expand;
mod list;
mod load;
mod may_read;
mod prepare;
mod read;
mod references;
mod service;
mod users;
mod write;

use tinybase_plugin_api::Result;

pub use aggregate::aggregate;
pub(crate) use answer::Answer;
pub use batch::batch;
pub use events::Events;
pub use list::list;
pub(crate) use read::parsed;
pub use read::read;
pub(crate) use service::call as serve;
pub(crate) use users::before_user_delete;
pub use write::{create, delete, replace, update};

use crate::{limits, plugin::Collections};

/// Handles a request under the current schema. If another node changed the schema meanwhile, the catalog is read again
/// and the request retried.
pub(crate) async fn retry_on_schema_change<F, T>(
    plugin: &Collections,
    mut answer: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    for _ in 1..limits::SCHEMA_ATTEMPTS_MAX {
        match answer().await {
            Err(fault) if fault.code() == "db_schema_changed" => plugin.catalog.reload().await?,
            answered => return answered,
        };
    }
    answer().await
}
