//! The type that carries values into SQL. It never formats a value as text.

pub use tinybase_plugin_api::database::Value as SqlValue;
