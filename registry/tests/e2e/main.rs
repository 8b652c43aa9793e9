//! End-to-end tests of registries: created by the real tool, served by it or by a misbehaving server, read by the
//! client.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

mod client;
mod forge;
mod metadata;
mod mirror;
mod proposal;
mod server;
mod site;
mod tool;
mod trust;
