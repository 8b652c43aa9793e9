//! Reacts to extensions that block threads: reports them to operators, and takes an extension that blocks too
//! many out of service. Never decides how many are too many.

use std::{io, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use http::Method;

use super::{Plugins, active_plugin::ActivePlugin, call, lifecycle::ChangeError, registration::Registration};
use crate::{
    db::DbError,
    error::ApiError,
    http::{BodyMode, PluginRequest, PluginResponse, PluginRoute, RouteSpec, RouteTable},
    isolation::{Bulkhead, Report, Watchdog, switched_off},
};

/// How long to wait before a failed write is retried.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The routes of a switched-off extension, which respond with 503: the method and pattern of each.
pub(super) type ClosedRoutes = Vec<(Method, String)>;

fn routes_of(registration: &Registration) -> ClosedRoutes {
    let routes = registration.routes.iter();
    routes.filter_map(|route| Some((route.method.parse().ok()?, route.path.clone()))).collect()
}

/// Adds the routes of a switched-off extension to a table. A route that another extension has registered is
/// left to it.
pub(super) fn close(table: &mut RouteTable, extension: &str, routes: &ClosedRoutes) {
    for (method, path) in routes {
        let spec = RouteSpec {
            // The body is not used.
            body: BodyMode::Streamed,
            param_names: call::param_names(path),
            ..RouteSpec::default()
        };
        let route = ClosedRoute { extension: extension.to_owned(), spec };
        let _ = table.insert(method.clone(), path, Arc::new(route));
    }
}

/// A route of a switched-off extension.
struct ClosedRoute {
    extension: String,
    spec: RouteSpec,
}

impl PluginRoute for ClosedRoute {
    fn spec(&self) -> &RouteSpec {
        &self.spec
    }

    fn call(&self, _request: PluginRequest) -> BoxFuture<'static, Result<PluginResponse, ApiError>> {
        let words = switched_off(&self.extension).words();
        std::future::ready(Err(ApiError::unavailable(words.code, words.message))).boxed()
    }
}

impl Plugins {
    /// Watches the threads of this process until the returned watchdog is dropped.
    ///
    /// # Errors
    /// If its thread cannot be started.
    pub fn watch_threads(&self) -> io::Result<Watchdog> {
        let (plugins, limits) = (self.clone(), self.shared.limits);
        let report = move |report| {
            let plugins = plugins.clone();
            let runtime = plugins.shared.runtime.clone();
            drop(runtime.spawn(async move { plugins.take_report(report).await }));
        };
        let runtime = self.shared.runtime.clone();
        Watchdog::start(runtime, limits.blocked_after, limits.blocked_threads_max, report)
    }

    async fn take_report(&self, report: Report) {
        if let Report::SwitchedOff(bulkhead) = report {
            self.take_out_of_service(bulkhead).await;
        }
        if let Err(error) = self.report_state().await {
            tracing::warn!(%error, "how the extensions are could not be written down");
        }
    }

    /// Quarantines the extension of a bulkhead, unless it is no longer the active one.
    async fn take_out_of_service(&self, bulkhead: &'static Bulkhead) {
        let serving = self.shared.current.load_full();
        let Some(active) = serving.active_plugin(bulkhead.name()) else { return };
        if !std::ptr::eq(active.plugin().bulkhead(), bulkhead) {
            return;
        }
        self.process.close(active.name(), routes_of(active.plugin().registration()));
        let reason = format!(
            "it was switched off, since it blocked {} threads; enable it again once it is repaired",
            bulkhead.blocked()
        );
        while let Err(error) = self.quarantine(active, &reason).await {
            if self.process.is_stopped() {
                return;
            }
            tracing::error!(plugin = active.name(), %error, "that it is switched off could not be written down");
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        self.process.woken.notify_one();
    }

    async fn quarantine(&self, active: &ActivePlugin, reason: &str) -> Result<(), DbError> {
        let installed = self.store.find(active.name()).await?;
        match installed.filter(|installed| installed.hash == active.hash() && installed.is_wanted()) {
            Some(_) => self.store.quarantine(active.name(), reason).await,
            None => Ok(()),
        }
    }
}

/// Returns the warning for an extension that blocks threads.
pub(super) fn blocking(active: &ActivePlugin) -> Option<ChangeError> {
    let blocked = active.plugin().bulkhead().blocked();
    (blocked > 0).then(|| ChangeError {
        code: "threads_blocked".into(),
        message: format!("it blocks {blocked} of this node's threads"),
    })
}
