//! The attribute that exports a plugin.
