//! Where extensions come from: the configured registries, what is asked of them, and how packages get into a folder of their
//! own, verified. It never installs anything: that is the lifecycle's. By the clock it looks for what was revoked.

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
