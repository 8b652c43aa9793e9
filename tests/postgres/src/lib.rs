//! A real PostgreSQL for tests: a server of its own in a temporary folder, and a database of its own a test. It never
//! touches a server that it did not start, nor a database that it did not make.

use std::{fs::OpenOptions, io::Write};

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

/// The variable that names a file in which each test leaves a line that is left out of a run on PostgreSQL.
pub const LEFT_OUT_VARIABLE: &str = "TINYBASE_TEST_LEFT_OUT";

/// Whether the caller, a test about SQLite alone, is to be left out because the run is on PostgreSQL. Says so and why,
/// where `cargo xtask test` counts it too.
///
/// # Panics
/// When the file that [`LEFT_OUT_VARIABLE`] names cannot be written: the count would be wrong.
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
