//! Identity and settings for plugins.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use tinybase_abi::{
    bytes::Bytes,
    error::RawError,
    future::{RawFuture, guard},
    interfaces::{identity, settings},
};

use super::{PluginHost, apart, raw_error};
use crate::{
    error::ApiError,
    plugins::{manifest::Manifest, secret_settings, settings_schema},
    settings::Settings,
};

/// Converts the host's own error into one for plugins.
pub(super) fn refused(error: &ApiError) -> RawError {
    let words = serde_json::to_value(&error.detail).unwrap_or_default();
    let message = words.as_str().map_or_else(|| words.to_string(), str::to_owned);
    RawError::new(error.status.as_u16(), &error.code, message)
}

impl identity::Server for PluginHost {
    fn authenticate(&self, token: &str) -> RawFuture<Bytes> {
        let (accounts, token) = (Arc::clone(&self.shared.accounts), token.to_owned());
        guard(async move {
            let caller = accounts.authenticate(&token).await.map_err(|error| refused(&error))?;
            let user = json!({
                "id": caller.user_id,
                "email": caller.email,
                // For older extensions that read nothing else: a token with limited scopes is not an admin.
                "is_admin": caller.role.is_admin() && caller.scopes.is_none(),
                "role": caller.role.name(),
                "scopes": caller.scopes.as_ref().map(|scopes| scopes.iter().collect::<Vec<_>>()),
                "token_id": caller.token_id.as_deref(),
            });
            Ok(Bytes::from(user.to_string()))
        })
    }

    fn user(&self, id: &str) -> RawFuture<Bytes> {
        let (accounts, id) = (Arc::clone(&self.shared.accounts), id.to_owned());
        guard(async move {
            let user = accounts.find(&id).await.map_err(|error| refused(&error))?;
            let user = serde_json::to_string(&user).map_err(|error| {
                RawError::new(500, "internal_error", format!("a user is no JSON: {error}"))
            })?;
            Ok(Bytes::from(user))
        })
    }

    fn application_token(&self, id: &str) -> RawFuture<Bytes> {
        let (accounts, id) = (Arc::clone(&self.shared.accounts), id.to_owned());
        guard(async move {
            let token = match accounts.application_token(&id).await {
                Ok(token) => token,
                Err(error) if error.code == "application_token_not_found" => return Ok(Bytes::from("null")),
                Err(error) => return Err(refused(&error)),
            };
            let told = json!({
                "id": token.id,
                "user_id": token.user_id,
                "scopes": token.scopes,
                "expires_at": token.expires_at,
                "is_valid": token.is_valid,
            });
            Ok(Bytes::from(told.to_string()))
        })
    }
}

/// Returns the stored settings, decrypted.
fn open(
    settings: &Settings,
    manifest: &Manifest,
    stored: Map<String, Json>,
) -> Result<Map<String, Json>, RawError> {
    let opened = secret_settings::open(settings.vault(), &manifest.name, &manifest.settings, stored);
    opened.map_err(|problem| {
        tracing::error!(plugin = manifest.name, "a secret setting cannot be read: {problem}");
        RawError::new(500, "setting_unreadable", problem)
    })
}

impl settings::Server for PluginHost {
    fn snapshot(&self) -> RawFuture<Bytes> {
        let (settings, manifest) = (Arc::clone(&self.shared.settings), Arc::clone(&self.manifest));
        guard(async move {
            let stored = settings.current().await.map_err(|error| raw_error(&error))?;
            let stored = open(&settings, &manifest, stored.extension(&manifest.name))?;
            let values = settings_schema::with_defaults(&manifest.settings, stored);
            Ok(Bytes::from(Json::Object(values).to_string()))
        })
    }

    fn update(&self, values: Bytes) -> RawFuture<()> {
        let (settings, manifest) = (Arc::clone(&self.shared.settings), Arc::clone(&self.manifest));
        apart(async move {
            let changes: Map<String, Json> = serde_json::from_slice(&values).map_err(|error| {
                RawError::new(422, "settings_not_an_object", format!("settings are a JSON object: {error}"))
            })?;
            let stored = settings.current().await.map_err(|error| raw_error(&error))?;
            // Values being replaced need not be decrypted, so a secret whose key was lost can be set again.
            let mut kept = stored.extension(&manifest.name);
            kept.retain(|name, _| !changes.contains_key(name));
            let kept = open(&settings, &manifest, kept)?;
            settings_schema::check_change(&manifest.settings, kept, &changes)
                .map_err(|problem| RawError::new(422, "setting_invalid", problem))?;
            let vault = settings.vault();
            let changes = secret_settings::seal(vault, &manifest.name, &manifest.settings, changes);
            settings.set_extension(&manifest.name, changes).await.map_err(|error| raw_error(&error))
        })
    }
}
