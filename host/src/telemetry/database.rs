//! Wraps the database with a span around each call that a traced request makes. It never records a statement or a
//! value.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tracing::{Instrument, Span, field::Empty};

use super::TARGET;
use crate::db::{
    Database, DbError, DbFuture, Engine, ExtensionRights, Query, ScopedBatch, SqlOwner, Transaction,
};

/// A database whose calls are traced.
pub struct Traced(Arc<dyn Database>);

impl Traced {
    /// Traces the calls of `inner`.
    pub fn over(inner: Arc<dyn Database>) -> Arc<dyn Database> {
        Arc::new(Traced(inner))
    }

    /// Starts a span, which is disabled outside of a traced request.
    fn span(&self, name: &'static str, scope: &SqlOwner) -> Span {
        let system = match self.0.engine() {
            Engine::Sqlite => "sqlite",
            Engine::Postgres => "postgresql",
        };
        let scope = match scope {
            SqlOwner::Host => "host",
            SqlOwner::Extension(name) => name,
        };
        tracing::trace_span!(
            target: TARGET,
            "database",
            otel.name = name,
            otel.kind = "client",
            otel.status_code = Empty,
            db.system.name = system,
            tinybase.scope = scope,
            error.type = Empty,
        )
    }
}

/// Awaits a pending result within the span, and records how it ended.
fn within<T: Send + 'static>(span: Span, answer: DbFuture<T>) -> DbFuture<T> {
    if span.is_disabled() {
        return answer;
    }
    match answer {
        DbFuture::Ready(result) => {
            result.iter().for_each(|result| note(&span, result));
            DbFuture::Ready(result)
        }
        DbFuture::Later(later) => DbFuture::Later(Box::pin(async move {
            let result = later.instrument(span.clone()).await;
            note(&span, &result);
            result
        })),
    }
}

fn note<T>(span: &Span, result: &Result<T, DbError>) {
    if let Err(error) = result {
        span.record("error.type", error.code());
        span.record("otel.status_code", "ERROR");
    }
}

impl Database for Traced {
    fn engine(&self) -> Engine {
        self.0.engine()
    }

    fn query(&self, query: Query<'_>) -> DbFuture<Vec<u8>> {
        let span = self.span("db.query", query.scope);
        within(span, self.0.query(query))
    }

    fn apply_attached(
        &self,
        scope: &SqlOwner,
        batch: Vec<u8>,
        attached: Vec<ScopedBatch>,
    ) -> DbFuture<Vec<u8>> {
        let span = self.span("db.apply", scope);
        within(span, self.0.apply_attached(scope, batch, attached))
    }

    fn begin(
        &self,
        scope: &SqlOwner,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Box<dyn Transaction>, DbError>> {
        let span = self.span("db.begin", scope);
        Box::pin(self.0.begin(scope, deadline).instrument(span))
    }

    fn write_probe(&self) -> BoxFuture<'static, Result<(), DbError>> {
        self.0.write_probe()
    }

    fn extension_rights(&self) -> ExtensionRights {
        self.0.extension_rights()
    }

    fn forget_extension(&self, name: &str) -> BoxFuture<'static, Result<(), DbError>> {
        self.0.forget_extension(name)
    }

    fn snapshot(&self, into: PathBuf) -> BoxFuture<'static, Result<bool, DbError>> {
        self.0.snapshot(into)
    }

    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn external_change_count(&self) -> u64 {
        self.0.external_change_count()
    }

    fn shut_down(&self) -> BoxFuture<'static, ()> {
        self.0.shut_down()
    }
}
