//! Backups: one archive of an instance, with everything that it needs to come up again, and the way back. It works beside a
//! server that serves, never changes what it copies, and never puts half of a backup in place.

mod archive;
mod create;
mod error;
mod folder;
mod parts;
mod postgres;
mod restore;
mod swap;

pub use archive::{About, FORMAT, Manifest, Stored, about_of};
pub use create::{Create, Created};
pub use error::BackupError;
pub use folder::{Listed, list};
pub use restore::{Prepared, Restored, prepare};
pub use swap::finish_interrupted;
