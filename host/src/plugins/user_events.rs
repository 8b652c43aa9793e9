//! Account events on the bus: topics `user.create`, `user.login` and so on, with the user's id as subject.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use serde_json::json;
use tinybase_abi::{bytes::Bytes, codec::BatchWriter};

use super::{refusal, services::PluginContext};
use crate::{
    accounts::{AccountEvent, AccountEvents},
    error::ApiError,
};

/// Receives account events on behalf of plugins.
pub struct UserEvents {
    shared: Arc<PluginContext>,
}

impl UserEvents {
    pub(super) fn new(shared: Arc<PluginContext>) -> UserEvents {
        UserEvents { shared }
    }
}

impl fmt::Debug for UserEvents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UserEvents")
    }
}

fn payload(event: &AccountEvent) -> Vec<u8> {
    let payload = json!({
        "user_id": event.user_id,
        "email": event.email,
        "is_admin": event.role.is_admin(),
        "role": event.role.name(),
    });
    payload.to_string().into_bytes()
}

impl AccountEvents for UserEvents {
    fn before<'a>(
        &'a self,
        event: &'a AccountEvent,
        batch: &'a mut BatchWriter,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(async move {
            if !self.shared.bus.topic(event.name).has_before() {
                return Ok(());
            }
            let generation = self.shared.current.load_full();
            let payload = Bytes::from(payload(event));
            let outcome = self.shared.bus.before(&generation, event.name, &event.user_id, payload).await;
            let outcome = outcome.map_err(|error| {
                let what = "an extension's hook failed without an error's status";
                refusal::refused("that looks at accounts", &error)
                    .unwrap_or_else(|| ApiError::internal_logged(what, &error.status))
            })?;
            if !outcome.statements.is_empty() {
                batch.append(&outcome.statements).map_err(|error| {
                    ApiError::internal_logged("the hooks' statements are malformed", &error)
                })?;
            }
            Ok(())
        })
    }

    fn after(&self, event: AccountEvent) {
        if self.shared.bus.topic(event.name).has_after() {
            let generation = self.shared.current.load_full();
            self.shared.bus.after(&generation, event.name, &event.user_id, &payload(&event));
        }
    }
}
