//! The harness of the end-to-end tests: builds plugins, runs the real binary in a fresh folder on port 0, and calls it.
//! It never looks inside the server.

#![allow(clippy::missing_panics_doc, reason = "a harness fails its test")]
#![allow(clippy::unwrap_used, reason = "a harness fails its test")]

pub mod cases;
pub mod client;
pub mod fixtures;
pub mod registry;
pub mod server;
pub mod site;
pub mod third_party;

pub use client::{Answer, Client};
pub use registry::Registry;
pub use server::Server;
pub use site::Site;

use std::path::{Path, PathBuf};

/// Returns the repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace").to_owned()
}

/// Returns cargo's target folder with the build output.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// Returns the folder of the binaries, for the profile of the tests.
pub fn profile_dir() -> PathBuf {
    target().join(if cfg!(debug_assertions) { "debug" } else { "release" })
}
