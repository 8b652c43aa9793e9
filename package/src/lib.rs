//! Packages of extensions: the manifest, the unpacked folder that a library comes in, and the archive that carries it.
//! It never opens a library.

pub mod archive;
pub mod boundary;
pub mod library;
pub mod manifest;
pub mod unpacked;
