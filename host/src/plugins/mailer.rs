//! Passes account mails to the extension that offers the service `mail@1`. Never reads a mail.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use tinybase_abi::bytes::Bytes;

use super::{generation::Service, services::PluginContext};
use crate::accounts::{Mail, Mailer};

const SERVICE: &str = "mail";
const MAJOR: u16 = 1;
const METHOD: &str = "send";

/// Passes account mails to an extension.
pub struct ServiceMailer {
    shared: Arc<PluginContext>,
}

impl ServiceMailer {
    pub(super) fn new(shared: Arc<PluginContext>) -> ServiceMailer {
        ServiceMailer { shared }
    }

    fn service(&self) -> Option<Service> {
        self.shared.current.load().service(SERVICE, MAJOR)
    }
}

impl fmt::Debug for ServiceMailer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ServiceMailer")
    }
}

impl Mailer for ServiceMailer {
    fn is_there(&self) -> bool {
        self.service().is_some()
    }

    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let service = self.service().ok_or("service_unavailable")?;
            let payload = Bytes::from(mail.payload());
            let called = service.call(METHOD, payload, self.shared.limits.call_timeout).await;
            called.map(drop).map_err(|error| error.words().code)
        })
    }
}
