//! Records: their routes, and the one path that every change of a record takes.

mod aggregate;
mod answer;
mod batch;
mod events;
mod expand;
mod list;
mod load;
mod prepare;
mod read;
mod users;
mod write;

pub use aggregate::aggregate;
pub(crate) use answer::Answer;
pub use batch::batch;
pub use events::Events;
pub use list::list;
pub(crate) use read::parsed;
pub use read::read;
pub(crate) use users::before_user_delete;
pub use write::{create, delete, replace, update};
