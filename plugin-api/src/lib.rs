//! The SDK for authors of extensions.
