//! Commands that extensions declare: `tinybase <extension> <command> …`. It never knows one of them by name.

use std::ffi::OsString;

use super::{Failure, site::Place};

/// Runs the command `arguments` of an installed extension; its name comes first.
pub(super) fn run_extension_command(place: &Place, arguments: &[OsString]) -> Result<(), Failure> {
    place.config(&[])?;
    let name = arguments.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Err(Failure::usage(format!(
        "there is no command {name:?}, and no enabled extension declares it; see: tinybase --help"
    )))
}
