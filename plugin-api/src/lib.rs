//! The SDK for authors of extensions: a struct, one trait, one attribute. It never requires `unsafe` code from an
//! author and never exposes a type of the host.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod audit;
pub mod caller;
pub mod command;
pub mod database;
pub mod error;
pub mod events;
pub mod host;
pub mod http;
mod instance;
pub mod log;
mod plugin;
mod registry;
pub mod request;
pub mod response;
pub mod sessions;
pub mod task;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use error::{Error, Result};
pub use host::Host;
pub use plugin::Plugin;
pub use registry::{Auth, Registry, RouteOptions};
pub use request::Request;
pub use response::Response;
pub use tinybase_macros::export;

/// The imports that an extension needs: `use tinybase_plugin_api::prelude::*;`.
pub mod prelude {
    pub use std::sync::Arc;

    pub use serde_json::{Value as Json, json};

    pub use crate::{
        Auth, Error, Host, Plugin, Registry, Request, Response, Result,
        command::{Arguments, Console},
        database::{Batch, Database, Expect, ReadHint, Rows, Value, params},
        events::{Event, HookOutcome, Topic},
    };
}

/// Used only by the attribute's expansion.
#[doc(hidden)]
pub mod private {
    pub use tinybase_abi::{self as abi, export_plugin};

    pub use crate::instance::Instance;

    /// The SDK's version, as recorded in the descriptor.
    pub const VERSION: &str = env!("CARGO_PKG_VERSION");
}
