//! The frozen boundary between the host and its plugins: the only crate of an author's with `unsafe` in it.
//! It never names a type of tokio, axum, sqlx or serde_json.

pub mod codec;
