//! A real PostgreSQL for tests: a server of its own in a temporary folder, and a database of its own a test. It never
//! touches a server that it did not start, nor a database that it did not make.

pub mod cluster;
pub mod database;
pub mod install;
mod random;

pub use cluster::Cluster;
pub use database::{Database, psql};

/// The variable that names a running server to tests: the URL of a superuser. Where it is unset, tests run on SQLite.
pub const URL_VARIABLE: &str = "TINYBASE_TEST_POSTGRES_URL";

/// The server that tests are to run on, where there is one.
pub fn server_url() -> Option<String> {
    std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty())
}

/// Whether the caller, a test about SQLite alone, is to be left out because the run is on PostgreSQL. Says so and why,
/// in words that `cargo xtask test` counts.
#[allow(clippy::print_stdout, reason = "a test's output tells what it did")]
pub fn sqlite_only(reason: &str) -> bool {
    let left_out = server_url().is_some();
    if left_out {
        println!("{SQLITE_ONLY} {reason}");
    }
    left_out
}

/// What a test that is left out on PostgreSQL prints before its reason.
pub const SQLITE_ONLY: &str = "SQLite's alone:";
