//! The settings, as `extension.toml` describes them, and the routes that show and change them. No route shows the
//! signing key.

use std::time::Duration;

use serde::Deserialize;
use tinybase_plugin_api::{audit::Entry, prelude::*};

use crate::{Webhooks, page::check_query};

/// The secret setting.
pub(crate) const SIGNING_KEY: &str = "signing_key";

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Settings {
    pub(crate) attempts_max: i64,
    backoff_min_ms: u64,
    backoff_max_ms: u64,
    timeout_ms: u64,
    pub(crate) disable_after_failures: i64,
    pub(crate) payload_bytes_max: usize,
    retention_days: u32,
    secret_overlap_hours: u32,
    /// The key as Base64; `None` until the first hook is created.
    pub(crate) signing_key: Option<String>,
}

impl Settings {
    /// Returns the timeout of a request to a receiver.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Returns how long finished deliveries are kept.
    pub(crate) fn retention(&self) -> Duration {
        Duration::from_hours(24) * self.retention_days
    }

    /// Returns how long the old secret is used together with the new one.
    pub(crate) fn secret_overlap(&self) -> Duration {
        Duration::from_hours(1) * self.secret_overlap_hours
    }

    /// Returns how long to wait after the `attempts`-th failed try. The time doubles each try; `chance` (0 to 1) picks
    /// between half and all of it, so that deliveries that failed together are not retried together.
    pub(crate) fn backoff(&self, attempts: i64, chance: f64) -> Duration {
        let doublings = u32::try_from((attempts - 1).clamp(0, 40)).unwrap_or(0);
        let whole = self.backoff_min_ms.saturating_mul(1 << doublings).min(self.backoff_max_ms);
        Duration::from_millis(whole).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }
}

pub(crate) fn register(registry: &mut Registry<Webhooks>) {
    let path = "/api/webhooks/settings";
    registry.get(path, Webhooks::show_settings).auth(Auth::Editor).summary("The settings of webhooks");
    registry.patch(path, Webhooks::change_settings).auth(Auth::Editor).summary("Change settings of webhooks");
}

impl Webhooks {
    pub(crate) async fn settings(&self) -> Result<Settings> {
        self.host.settings().await
    }

    async fn open_settings(&self) -> Result<Json> {
        let mut settings: Json = self.host.settings().await?;
        if let Some(settings) = settings.as_object_mut() {
            settings.remove(SIGNING_KEY);
        }
        Ok(settings)
    }

    async fn show_settings(self: Arc<Self>, request: Request) -> Result<Response> {
        check_query(&request, &[])?;
        Response::json(&self.open_settings().await?)
    }

    /// The host validates the settings against the schema in the manifest and rejects invalid ones.
    async fn change_settings(self: Arc<Self>, request: Request) -> Result<Response> {
        let change: Json = request.json()?;
        if change.get(SIGNING_KEY).is_some() {
            let message = "the signing key is not changed by this route: rotate the secrets of hooks instead";
            return Err(Error::unprocessable("setting_invalid", message));
        }
        let before = self.open_settings().await?;
        self.host.update_settings(&change).await?;
        let after = self.open_settings().await?;
        let names = change.as_object().into_iter().flat_map(|change| change.keys());
        let changed = names.filter(|name| before.get(name) != after.get(name));
        let changed: Json = changed
            .map(|name| (name.clone(), json!({"from": before.get(name), "to": after.get(name)})))
            .collect();
        let entry = Entry::new("settings.update", "settings", "webhooks").by(&request).with_change(changed);
        self.audit.record(&entry).await?;
        Response::json(&after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_differ_by_chance() {
        let settings = json!({
            "attempts_max": 12, "backoff_min_ms": 1000, "backoff_max_ms": 3_600_000, "timeout_ms": 1,
            "disable_after_failures": 1, "payload_bytes_max": 1, "retention_days": 1, "secret_overlap_hours": 1,
        });
        let settings = Settings::deserialize(settings).unwrap();
        let seconds = |attempts, chance| settings.backoff(attempts, chance).as_secs_f64();
        assert_eq!([1, 2, 3, 4].map(|attempts| seconds(attempts, 1.0)), [1.0, 2.0, 4.0, 8.0]);
        assert_eq!((seconds(2, 0.0), seconds(2, 0.5)), (1.0, 1.5));
        assert_eq!((seconds(12, 1.0), seconds(13, 1.0), seconds(i64::MAX, 1.0)), (2048.0, 3600.0, 3600.0));
    }
}
