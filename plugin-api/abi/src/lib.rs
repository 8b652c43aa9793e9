//! The frozen ABI between the host and its plugins: the only crate in an extension that contains `unsafe` code. It
//! never names a type of tokio, axum, sqlx or serde_json.
//!
//! It has two layers. `abi_stable` checks the *root* ([`root::PluginRoot`]) when a library is opened; it never
//! changes within an ABI major. Everything else is available through `get_interface(id, major)`: tables of functions
//! ([`interfaces`]) that begin with their own size and only grow at their end.

#[cfg(test)]
#[macro_use]
mod layout;

pub mod bytes;
pub mod codec;
pub mod error;
pub mod export;
pub mod future;
pub mod host;
pub mod interfaces;
pub mod loaded;
pub mod request;
pub mod response;
pub mod root;
pub mod scopes;

pub use abi_stable;
pub use async_ffi;

/// The ABI major of this crate, used by plugins built with it.
pub const ABI_MAJOR: u16 = 1;
/// The ABI minor. It increases when an interface table grows.
pub const ABI_MINOR: u16 = 4;
/// The oldest ABI major that a host built with this crate accepts: the current one, and from 2 on the previous one
/// too.
pub const ABI_MAJOR_OLDEST: u16 = 1;
