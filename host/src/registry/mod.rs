//! Where extensions come from: the configured registries, what is asked of them, and how packages get into a folder of their
//! own, verified. It never installs anything: that is the lifecycle's. By the clock it looks for what was revoked.

mod asked;
mod audit;
mod download;
mod error;
mod offers;
mod prepare;
mod revoked;
mod sources;
mod verify;
mod watch;
mod world;

pub use asked::Asked;
pub use audit::{Finding, audit};
pub use error::InstallError;
pub use offers::{Offer, newer, search};
pub use prepare::{Prepared, Progress, Step, Wish, prepare};
pub use revoked::{Which, check_not_revoked};
pub use sources::{Market, Unopened, open};
pub use verify::{Verdict, verify};
pub use watch::{Watch, revoked};
