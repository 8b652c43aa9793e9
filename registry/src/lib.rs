//! Registries of extensions: a TUF repository in plain files, a client that verifies everything it receives, and a
//! resolver that decides what to install. It never loads a library.

mod client;
mod entry;
mod error;
pub mod repository;
pub mod resolver;
mod source;
mod transport;

pub use client::Registry;
pub use entry::{Archive, Entry, Listing, Publisher, Revocation, RevocationList};
pub use error::{Code, RegistryError};
pub use source::{Limits, Location, Source};
pub use transport::{innermost, tls};
