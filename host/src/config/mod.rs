//! The configuration: its keys, defaults and limits, and how the layers are merged. It never reads a setting that lives
//! in the database.

mod extension_set;
mod former;
mod keys;
mod load;
mod pairs;
mod template;
mod url;
mod values;

use std::path::{Path, PathBuf};

pub use crate::secrets::Secret;
pub use extension_set::ExtensionSet;
pub use keys::{
    Admin, Audit, Auth, BUNDLED_REGISTRY, Cors, Database, Email, Extensions, Functions, KEYS, Key, Metrics,
    Node, Openapi, Plugins, Public, RateLimit, RequestLog, Scheduler, Server, TOKEN_MARK, Telemetry,
};
pub use load::{ConfigError, FILE_NAME, Flag, Place};
pub use template::template;
pub use url::DatabaseUrl;
pub use values::{Durability, LogFormat, LogLevel, Revoked, SmtpTls};

/// Everything an operator configures outside of the database. Once loaded, every path is absolute.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The folder that relative paths are relative to; it contains `tinybase.toml`.
    pub dir: PathBuf,
    /// The HTTP server and the log.
    pub server: Server,
    /// The database.
    pub database: Database,
    /// This process among others that serve the same database.
    pub node: Node,
    /// Accounts and tokens.
    pub auth: Auth,
    /// The audit log.
    pub audit: Audit,
    /// Rate limits.
    pub rate_limit: RateLimit,
    /// Figures for Prometheus.
    pub metrics: Metrics,
    /// The request log.
    pub request_log: RequestLog,
    /// Traces for OpenTelemetry.
    pub telemetry: Telemetry,
    /// The API's description.
    pub openapi: Openapi,
    /// Cross-origin requests.
    pub cors: Cors,
    /// Where extensions come from and go to.
    pub extensions: Extensions,
    /// Limits of plugins.
    pub plugins: Plugins,
    /// The functions extension.
    pub functions: Functions,
    /// The scheduler extension.
    pub scheduler: Scheduler,
    /// The mailer extension.
    pub email: Email,
    /// The admin UI.
    pub admin: Admin,
    /// An application's own pages.
    pub public: Public,
    /// Oddities that do not prevent a start, one sentence each.
    pub warnings: Vec<String>,
}

impl Plugins {
    /// Returns the maximum size of one read for an extension: that of a response, but always enough for some records of
    /// the largest size, so that work that reads page by page does not get stuck at one.
    pub fn rows_bytes_max(&self) -> usize {
        const BYTES_MIN: usize = 4 << 20;
        self.response_bytes_max.max(BYTES_MIN)
    }
}

impl Config {
    /// Resolves `path`: a relative one is relative to the folder of `tinybase.toml`.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        match path.strip_prefix(".") {
            Ok(rest) => self.dir.join(rest),
            Err(_) => self.dir.join(path),
        }
    }

    /// Returns the folder for the host's own files: keys, extensions, markers.
    pub fn state_dir(&self) -> PathBuf {
        self.path(".tinybase")
    }
}
