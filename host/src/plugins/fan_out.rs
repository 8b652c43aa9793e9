//! Requests to all plugins at once: the scopes of their routes, and each plugin's part of a whole such as the
//! metrics. If a plugin fails or takes too long, only its own part is missing.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use serde_json::Value as Json;
use tinybase_abi::{bytes::Bytes, error::RawError};

use super::{Plugins, call, generation::Hook};
use crate::isolation::Work;

/// The response of one plugin.
#[derive(Debug, Clone)]
pub struct Contribution {
    /// The plugin's name.
    pub plugin: String,
    /// The payload it returned.
    pub payload: Json,
}

impl Plugins {
    /// Returns the scopes that active routes require of application tokens, with `{name}` for a path
    /// parameter.
    pub fn route_scopes(&self) -> BTreeSet<String> {
        let generation = self.shared.current.load();
        let routes = generation.active_plugins.iter().map(|active| active.plugin()).flat_map(|plugin| {
            plugin.registration().routes.iter().map(|route| call::access(route, plugin.name()))
        });
        routes.map(|access| access.scope.into_owned()).filter(|scope| !scope.is_empty()).collect()
    }

    /// Runs every hook before `topic` at once, each with the same `payload`, and returns their payloads.
    /// Leaves out a hook that does not change the payload, fails, or exceeds `time_max` or the limit for
    /// plugin calls.
    pub async fn fan_out(&self, topic: &str, payload: &Json, time_max: Duration) -> Vec<Contribution> {
        let time_max = time_max.min(self.shared.limits.call_timeout);
        let generation = self.shared.current.load_full();
        let hooks = generation.before.get(topic).map_or(&[][..], Vec::as_slice);
        let asked = hooks.iter().filter(|hook| hook.matches("")).map(|hook| async move {
            let answered = ask(hook, topic, payload, time_max).await;
            answered.unwrap_or_else(|error| {
                let words = error.words();
                let plugin = hook.plugin.name();
                tracing::warn!(
                    plugin,
                    topic,
                    code = words.code,
                    "a plugin's part is missing: {}",
                    words.message
                );
                None
            })
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}

/// Runs one hook. Returns `None` if it leaves the payload unchanged.
pub(super) async fn ask(
    hook: &Hook,
    topic: &str,
    payload: &Json,
    time_max: Duration,
) -> Result<Option<Contribution>, RawError> {
    let hooks = hook.plugin.hooks().ok_or_else(|| RawError::new(500, "plugin_no_hooks", "no hooks"))?;
    let (position, of, payload) = (hook.position, topic.to_owned(), Bytes::from(payload.to_string()));
    let call = move || hooks.before(position, &of, "", payload);
    let outcome = hook.plugin.bounded(time_max, Work::Hook, call).await?;
    if outcome.payload.is_empty() {
        return Ok(None);
    }
    let payload = serde_json::from_slice(&outcome.payload).map_err(|error| {
        RawError::new(502, "plugin_answer_invalid", format!("it answered no JSON: {error}"))
    })?;
    Ok(Some(Contribution { plugin: hook.plugin.name().to_owned(), payload }))
}
