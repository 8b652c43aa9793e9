//! A real PostgreSQL for tests: a server in a temporary folder, and one database per test. It never touches a server
//! that it did not start, nor a database that it did not create.

use std::{fs::OpenOptions, io::Write};

pub mod cluster;
pub mod database;
pub mod install;
mod random;

pub use cluster::Cluster;
pub use database::{Database, psql};

/// The variable with the URL of a superuser of a running server for tests. If it is unset, tests run on SQLite.
pub const URL_VARIABLE: &str = "TINYBASE_TEST_POSTGRES_URL";

/// Returns the server to run tests on, if there is one.
pub fn server_url() -> Option<String> {
    std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty())
}

/// The variable with the path of a file to which each test skipped on PostgreSQL adds a line.
pub const LEFT_OUT_VARIABLE: &str = "TINYBASE_TEST_LEFT_OUT";

/// Returns whether to skip the caller, a test about SQLite alone, because the run is on PostgreSQL. Reports the skip
/// with its reason, so that `cargo xtask test` counts it.
///
/// # Panics
/// When the file named by [`LEFT_OUT_VARIABLE`] cannot be written: the count would be wrong.
#[allow(clippy::print_stdout, reason = "a test's output tells what it did")]
pub fn sqlite_only(reason: &str) -> bool {
    let left_out = server_url().is_some();
    if left_out {
        println!("left out, it is about {reason}");
    }
    if let Some(path) = std::env::var_os(LEFT_OUT_VARIABLE).filter(|_| left_out) {
        let file = OpenOptions::new().append(true).open(path);
        let written = file.and_then(|mut file| file.write_all(format!("{reason}\n").as_bytes()));
        written.expect("the run made this file");
    }
    left_out
}
