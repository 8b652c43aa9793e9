//! Events and services between plugins, looked up in the active generation.

use std::sync::Arc;

use tinybase_abi::{
    bytes::Bytes,
    error::RawError,
    future::{RawFuture, guard, ready},
    interfaces::{Outcome, TopicRef, events, services},
};

use super::PluginHost;
use crate::plugins::manifest::ServiceName;

impl events::Server for PluginHost {
    fn topic(&self, name: &str) -> TopicRef {
        TopicRef(self.shared.bus.topic(name))
    }

    fn before(&self, topic: &str, subject: &str, payload: Bytes) -> RawFuture<Outcome> {
        let shared = Arc::clone(&self.shared);
        let (topic, subject) = (topic.to_owned(), subject.to_owned());
        guard(async move {
            let generation = shared.current.load_full();
            shared.bus.before(&generation, &topic, &subject, payload).await
        })
    }

    fn after(&self, topic: &str, subject: &str, payload: Bytes) {
        self.shared.bus.after(&self.shared.current.load(), topic, subject, &payload);
    }
}

impl services::Server for PluginHost {
    fn offered(&self, name: &str, major: u16) -> bool {
        self.shared.current.load().service(name, major).is_some()
    }

    fn call(&self, name: &str, major: u16, method: &str, payload: Bytes) -> RawFuture<Bytes> {
        let service = ServiceName { name: name.to_owned(), major };
        if !self.manifest.uses.contains(&service) {
            let service = String::from(service);
            let message = format!(
                "the extension {} calls the service {service}, which its manifest does not declare in `uses`",
                self.manifest.name
            );
            return ready(Err(RawError::new(500, "capability_missing", message)));
        }
        let Some(entry) = self.shared.current.load().service(name, major) else {
            let message = format!("no enabled extension offers the service {name}@{major}");
            return ready(Err(RawError::new(503, "service_unavailable", message)));
        };
        let (timeout, method) = (self.shared.limits.call_timeout, method.to_owned());
        guard(async move { entry.call(&method, payload, timeout).await })
    }
}
