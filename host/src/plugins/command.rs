//! Commands of extensions on the command line: found in the manifest, run by the plugin.

use serde_json::{Map, Value as Json};
use tinybase_abi::bytes::Bytes;

use super::{LoadError, Plugins};

impl Plugins {
    /// Runs a command of a loaded extension and returns its exit code. There is no time limit.
    ///
    /// # Errors
    /// If there is no such command, or the error that the plugin returns.
    pub async fn run_command(
        &self,
        extension: &str,
        command: &str,
        arguments: Map<String, Json>,
    ) -> Result<u32, LoadError> {
        let generation = self.shared.current.load_full();
        let missing =
            || LoadError::NoCommand(format!("no loaded extension has the command «{extension} {command}»"));
        let plugin = generation.plugin(extension).ok_or_else(missing)?;
        let position = plugin.registration().commands.iter().position(|name| name == command);
        let position = position.and_then(|position| u32::try_from(position).ok()).ok_or_else(missing)?;
        let commands = plugin.commands().ok_or_else(missing)?;
        let arguments = Bytes::from(Json::Object(arguments).to_string());
        let ran = commands.run(position, arguments).await.into_result();
        ran.map_err(|error| LoadError::plugin("the command", &error))
    }
}
