//! `/api/admin/extensions`: installed extensions, and their changes. The lifecycle defines changes and how they are
//! undone; the registries define where packages come from.

mod answer;
mod checks;
mod documents;
mod input;

use std::sync::Arc;

use axum::{
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};
use serde_json::{Value as Json, json};

use self::{
    answer::answer,
    input::{Install, Patch},
};
use crate::{
    audit::Actor,
    config::Config,
    error::ApiError,
    http::{
        Access, HostRoutes,
        etag::{self, IfMatch},
        extract::{ApiJson, json_response},
        query::Query,
    },
    plugins::{
        Plugins,
        lifecycle::{Change, ExtensionState},
    },
    registry::{self, InstallError, InstallRequest, PackageSpec, Step, Which},
};

const READ: Access = Access::viewer("admin:extensions:read");
/// Routes that call other servers, or read every file, are for admins.
const CHECK: Access = Access::admin("admin:extensions:read");
const WRITE: Access = Access::admin("admin:extensions:write");
const ALL: &str = "/api/admin/extensions";
/// No extension may have this name.
const VERIFY: &str = "/api/admin/extensions/verify";
/// An extension may be called `audit`, so this route has a different path.
const AUDIT: &str = "/api/admin/registries/audit";
const ONE: &str = "/api/admin/extensions/{name}";

/// The longest text to search for, in characters.
const SEARCH_CHARS_MAX: usize = 100;

type Answer = Result<Response, ApiError>;

/// The state that the handlers share.
#[derive(Clone)]
struct Extensions {
    plugins: Arc<Plugins>,
    config: Arc<Config>,
}

/// Adds the routes.
pub(super) fn routes(own: &mut HostRoutes, plugins: Arc<Plugins>, config: Arc<Config>) {
    own.with(Extensions { plugins, config })
        .route(Method::GET, ALL, READ, list, documents::list())
        .route(Method::POST, ALL, WRITE, install, documents::install())
        .route(Method::GET, "/api/admin/registries/extensions", READ, search, documents::search())
        .route(Method::POST, VERIFY, CHECK, checks::verify, documents::verify())
        .route(Method::GET, AUDIT, CHECK, checks::audit, documents::audit())
        .route(Method::GET, ONE, READ, read, documents::read())
        .route(Method::PATCH, ONE, WRITE, update, documents::update())
        .route(Method::DELETE, ONE, WRITE, uninstall, documents::uninstall())
        .route(
            Method::POST,
            "/api/admin/extensions/{name}/rollback",
            WRITE,
            roll_back,
            documents::roll_back(),
        );
}

async fn list(State(extensions): State<Extensions>, RawQuery(query): RawQuery) -> Answer {
    let names = ["enabled_only", "include_builtin", "check_updates", "limit", "offset"];
    let mut query = Query::parse(query.as_deref(), &names);
    let (enabled_only, include_builtin, check_updates) =
        (query.flag("enabled_only"), query.flag("include_builtin"), query.flag("check_updates"));
    let page = query.page();
    query.finish()?;
    let mut all = extensions.state().await?;
    all.retain(|one| {
        (one.installed.is_enabled || enabled_only != Some(true))
            && (!one.installed.is_builtin || include_builtin == Some(true))
    });
    let registry_set = match check_updates {
        Some(true) => Some(registry::open(&extensions.config).await),
        _ => None,
    };
    let total = all.len();
    let window = all.iter().skip(page.offset as usize).take(page.limit as usize);
    let answers: Vec<Json> = window.map(|one| answer(one, registry_set.as_ref())).collect();
    let body = json!({"extensions": answers, "total": total, "limit": page.limit, "offset": page.offset});
    Ok(json_response(StatusCode::OK, &body))
}

async fn search(State(extensions): State<Extensions>, RawQuery(query): RawQuery) -> Answer {
    let mut query = Query::parse(query.as_deref(), &["search"]);
    let text = query.text("search", SEARCH_CHARS_MAX).unwrap_or_default();
    query.finish()?;
    let registry_set = registry::open(&extensions.config).await;
    let installed = extensions.plugins.store().all().await?;
    let failures: Vec<String> = registry_set.failures.iter().map(ToString::to_string).collect();
    let body =
        json!({"extensions": registry::search(&registry_set, &installed, &text), "failures": failures});
    Ok(json_response(StatusCode::OK, &body))
}

async fn install(
    State(extensions): State<Extensions>,
    actor: Actor,
    ApiJson(install): ApiJson<Install>,
) -> Answer {
    let request = InstallRequest {
        specs: vec![PackageSpec::parse_remote(&install.source)?],
        upgrade: false,
        accept_publisher: install.accept_publisher,
    };
    let name = extensions.carry_on(actor, request, install.dry_run, IfMatch::default()).await?;
    match name {
        Outcome::Planned(plan) => Ok(json_response(StatusCode::OK, &json!({"plan": plan}))),
        Outcome::Done(name) => {
            let state = extensions.one(&name).await?;
            Ok(tagged(StatusCode::CREATED, &state))
        }
    }
}

async fn read(State(extensions): State<Extensions>, Path(name): Path<String>) -> Answer {
    Ok(tagged(StatusCode::OK, &extensions.one(&name).await?))
}

async fn update(
    State(extensions): State<Extensions>,
    Path(name): Path<String>,
    actor: Actor,
    mut if_match: IfMatch,
    ApiJson(patch): ApiJson<Patch>,
) -> Answer {
    if_match.check(&extensions.one(&name).await?.installed.tag())?;
    if let Some(is_enabled) = patch.is_enabled {
        let change = if is_enabled {
            extensions.check_not_revoked(&name, Which::Installed).await?;
            Change::Enable { name: name.clone() }
        } else {
            Change::Disable { name: name.clone(), revoked: None }
        };
        // A change that follows applies to the state after this one.
        extensions.change(actor.clone(), change, std::mem::take(&mut if_match)).await?;
    }
    if let Some(requirement) = patch.version {
        let specs = vec![PackageSpec::Named { name: name.clone(), requirement }];
        let request = InstallRequest { specs, upgrade: true, accept_publisher: patch.accept_publisher };
        extensions.carry_on(actor, request, false, if_match).await?;
    }
    Ok(tagged(StatusCode::OK, &extensions.one(&name).await?))
}

async fn uninstall(
    State(extensions): State<Extensions>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    actor: Actor,
    if_match: IfMatch,
) -> Answer {
    let mut query = Query::parse(query.as_deref(), &["purge"]);
    let purge = query.flag("purge").unwrap_or(false);
    query.finish()?;
    if_match.check(&extensions.one(&name).await?.installed.tag())?;
    extensions.change(actor, Change::Uninstall { name, purge }, if_match).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn roll_back(
    State(extensions): State<Extensions>,
    Path(name): Path<String>,
    actor: Actor,
    if_match: IfMatch,
) -> Answer {
    if_match.check(&extensions.one(&name).await?.installed.tag())?;
    extensions.check_not_revoked(&name, Which::Previous).await?;
    extensions.change(actor, Change::Rollback { name: name.clone() }, if_match).await?;
    Ok(tagged(StatusCode::OK, &extensions.one(&name).await?))
}

/// Returns an extension with its ETag.
fn tagged(status: StatusCode, extension: &ExtensionState) -> Response {
    etag::tagged(json_response(status, &answer(extension, None)), &extension.installed.tag())
}

/// The result of a request to install.
enum Outcome {
    /// Nothing was changed; this is the plan.
    Planned(Vec<Json>),
    /// The requested extension is installed.
    Done(String),
}

impl Extensions {
    async fn state(&self) -> Result<Vec<ExtensionState>, ApiError> {
        Ok(self.plugins.state().await.map_err(InstallError::from)?)
    }

    async fn one(&self, name: &str) -> Result<ExtensionState, ApiError> {
        let found = self.state().await?.into_iter().find(|one| one.installed.name == name);
        found.ok_or_else(|| {
            let detail = format!("the extension {name:?} is not installed");
            ApiError::new(StatusCode::NOT_FOUND, "extension_not_installed", detail)
        })
    }

    /// Refuses an extension that a registry revoked. An unreachable registry does not prevent it from running.
    async fn check_not_revoked(&self, name: &str, which: Which) -> Result<(), ApiError> {
        for failure in registry::check_not_revoked(&self.config, &self.plugins, name, which).await? {
            tracing::warn!(plugin = name, "it is not known whether it was revoked: {failure}");
        }
        Ok(())
    }

    /// Executes a change to its end, even if the client disconnects.
    async fn change(&self, actor: Actor, change: Change, if_match: IfMatch) -> Result<(), ApiError> {
        let plugins = Arc::clone(&self.plugins);
        let changed = tokio::spawn(async move { plugins.change_if(change, &actor, &if_match).await });
        changed.await.map_err(lost)?.map_err(InstallError::from)?;
        Ok(())
    }

    /// Fetches and installs the requested extensions to the end, even if the client disconnects. For an extension
    /// requested by name, `if_match` must match its state.
    async fn carry_on(
        &self,
        actor: Actor,
        request: InstallRequest,
        dry_run: bool,
        if_match: IfMatch,
    ) -> Result<Outcome, ApiError> {
        let Extensions { plugins, config } = self.clone();
        let done = tokio::spawn(async move {
            let prepared = registry::prepare(&config, &plugins, &request, &()).await?;
            if dry_run {
                return Ok(Outcome::Planned(prepared.steps.iter().map(Step::described).collect()));
            }
            let name = match request.specs.first() {
                Some(PackageSpec::Named { name, .. }) => name.clone(),
                _ => String::new(),
            };
            let mut last = name.clone();
            for step in prepared.steps {
                let (package, origin) = (step.package, step.origin);
                let if_match =
                    if package.manifest.name == name { if_match.clone() } else { IfMatch::default() };
                let change = Change::Install { package, origin };
                last = plugins.change_if(change, &actor, &if_match).await?.name;
            }
            Ok::<_, InstallError>(Outcome::Done(last))
        });
        Ok(done.await.map_err(lost)??)
    }
}

fn lost(error: tokio::task::JoinError) -> ApiError {
    tracing::error!(%error, "a change of extensions was lost");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "host_panicked", "the change was lost; the log says why")
}
