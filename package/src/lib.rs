//! Packages of extensions: the manifest, and the unpacked folder that a library comes in. It never opens a library.

pub mod manifest;
pub mod unpacked;
