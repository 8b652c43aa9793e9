//! A correct plugin, built to abort on a panic.

use tinybase_plugin_api::prelude::*;

struct Aborting;

#[tinybase_plugin_api::export]
impl Plugin for Aborting {
    fn create(_host: Host) -> Result<Aborting> {
        Ok(Aborting)
    }

    fn register(_registry: &mut Registry<Aborting>) {}
}
