//! Packages of extensions: the manifest, the unpacked folder with the library, and the archive. It never loads a
//! library.

pub mod archive;
pub mod boundary;
pub mod library;
pub mod manifest;
pub mod unpacked;
