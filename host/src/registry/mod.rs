//! The sources of extensions: opens the configured registries, queries them, and downloads verified packages
//! into a folder of their own. Also checks periodically for revoked versions. Never installs anything: the
//! lifecycle does that.

mod audit;
mod download;
mod error;
mod package_spec;
mod prepare;
mod resolver_input;
mod revoked;
mod search;
mod sources;
mod verify;
mod watch;

pub use audit::{Finding, audit};
pub use error::InstallError;
pub use package_spec::PackageSpec;
pub use prepare::{InstallRequest, Prepared, Progress, Step, prepare};
pub use revoked::{Which, check_not_revoked};
pub use search::{AvailableVersion, newer, search};
pub use sources::{RegistryFailure, RegistrySet, open};
pub use verify::{Verdict, verify};
pub use watch::{Watch, revoked};
