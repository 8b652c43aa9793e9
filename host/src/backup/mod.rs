//! Backups: one archive with everything that an instance needs to run again, and how it is restored. A server may run
//! meanwhile. It never changes what it copies, and never restores half of a backup.

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
