//! The frozen boundary between the host and its plugins: the only crate of an author's with `unsafe` in it.
//! It never names a type of tokio, axum, sqlx or serde_json.
//!
//! Two layers. The *root* ([`root::PluginRoot`]) is checked by `abi_stable` when a library is opened and never
//! changes within an ABI major. Everything else hangs off `get_interface(id, major)`: tables of functions that begin
//! with their own size ([`interfaces`]) and only ever grow at their end.

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

/// The ABI major of this crate: what a plugin built with it speaks.
pub const ABI_MAJOR: u16 = 1;
/// The ABI minor: grows when an interface table grows.
pub const ABI_MINOR: u16 = 4;
/// The oldest ABI major that a host of this crate accepts: this one, and from 2 on the one before it.
pub const ABI_MAJOR_OLDEST: u16 = 1;
