//! The configuration of the sign-in pages: the settings `auth_portal_…`, or an admin's preview of other values. It
//! never changes a setting.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value as Json;

use super::Accounts;
use crate::{
    absolute_url::is_absolute_url,
    error::{ApiError, Fault},
    http::{
        Access, HostRoutes, MaybeSignedIn, RouteAuth,
        extract::json_response,
        operation::{operation, schema},
    },
    settings::{Snapshot, is_color},
};

/// The configuration of the sign-in pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortalConfig {
    /// The name of this instance.
    pub instance_name: String,
    /// The URL of the logo.
    pub logo_url: Option<String>,
    /// The colour of buttons and links.
    pub primary_color: Option<String>,
    /// The URL of the background image.
    pub background_image_url: Option<String>,
    /// Whether anyone may create an account.
    pub registration_enabled: bool,
    /// Where the browser is redirected after sign-in.
    pub login_redirect_url: Option<String>,
    /// Where the browser is redirected after registration.
    pub register_redirect_url: Option<String>,
}

impl PortalConfig {
    fn of_settings(settings: &Snapshot) -> PortalConfig {
        let text = |key: &str| {
            let value = settings.get(key).and_then(Json::as_str).filter(|value| !value.is_empty());
            value.map(str::to_owned)
        };
        PortalConfig {
            instance_name: settings.instance_name(),
            logo_url: text("auth_portal_logo_url"),
            primary_color: text("auth_portal_primary_color"),
            background_image_url: text("auth_portal_background_image_url"),
            registration_enabled: settings.allow_public_registration(),
            login_redirect_url: text("auth_portal_login_redirect_url"),
            register_redirect_url: text("auth_portal_register_redirect_url"),
        }
    }

    /// Replaces settings with previewed values; an empty value removes one.
    fn try_out(&mut self, tried: &HashMap<Cow<'_, str>, Cow<'_, str>>) -> Result<(), ApiError> {
        type Check = (fn(&str) -> bool, &'static str);
        const URL: Check = (is_absolute_url, "this must be a URL such as https://example.org/logo.png");
        const COLOR: Check = (is_color, "this must be a colour such as #1a2b3c or navy");
        let mut faults = Vec::new();
        let fields = [
            ("logo_url", &mut self.logo_url, URL),
            ("primary_color", &mut self.primary_color, COLOR),
            ("background_image_url", &mut self.background_image_url, URL),
        ];
        for (name, field, (fits, otherwise)) in fields {
            match tried.get(name) {
                None => {}
                Some(value) if value.is_empty() => *field = None,
                Some(value) if fits(value) => *field = Some(value.to_string()),
                Some(_) => faults.push(Fault::new(["query", name], otherwise, "value_error")),
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(ApiError::unprocessable(faults)) }
    }
}

/// Adds the route of the pages' configuration.
pub(super) fn add(own: &mut HostRoutes, accounts: Arc<Accounts>) {
    // Anyone may send it; whether it is a preview, which is for admins, shows only in the query.
    let access = Access { auth: RouteAuth::Anyone, scope: Cow::Borrowed("") };
    own.with(accounts).route(
        Method::GET,
        "/api/auth/portal-config",
        access,
        portal_config,
        portal_operation(),
    );
}

async fn portal_config(
    State(accounts): State<Arc<Accounts>>,
    MaybeSignedIn(caller): MaybeSignedIn,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = query.unwrap_or_default();
    let given = form_urlencoded::parse(query.as_bytes()).collect::<HashMap<_, _>>();
    let mut config = PortalConfig::of_settings(&*accounts.settings.current().await?);
    match given.get("preview").map(Cow::as_ref) {
        None | Some("false" | "0") => {}
        Some("true" | "1") => {
            let caller = caller.ok_or_else(preview_refused)?;
            Access::admin("admin:settings:read").check(&caller, |_| None)?;
            config.try_out(&given)?;
        }
        Some(_) => {
            let msg = "this must be true or false";
            return Err(ApiError::unprocessable_at(["query", "preview"], msg, "bool_parsing"));
        }
    }
    Ok(json_response(StatusCode::OK, &config))
}

fn preview_refused() -> ApiError {
    ApiError::forbidden("admin_required", "only an administrator may preview; sign in as one")
}

fn portal_operation() -> Json {
    let maybe = || schema::nullable(schema::text());
    let answer = schema::object(&[
        ("instance_name", schema::text()),
        ("logo_url", maybe()),
        ("primary_color", maybe()),
        ("background_image_url", maybe()),
        ("registration_enabled", schema::flag()),
        ("login_redirect_url", maybe()),
        ("register_redirect_url", maybe()),
    ]);
    operation("getPortalConfig", "accounts", "What the pages to sign in show")
        .query("preview", schema::flag(), "For admins: show the values below in the place of the settings.")
        .query("logo_url", schema::text(), "An absolute URL; empty shows none.")
        .query("primary_color", schema::text(), "A colour such as #1a2b3c or navy; empty shows none.")
        .query("background_image_url", schema::text(), "An absolute URL; empty shows none.")
        .answers(200, "What the pages show", answer)
        .into()
}
