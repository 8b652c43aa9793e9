//! Registries of extensions: a TUF repository in plain files, the client that believes nothing it is sent, and the resolver that says
//! what to install. It never unpacks a package and never opens a library.

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
