//! Validates the values of settings, and their combinations. It never reads or writes one.

use http::Uri;
use jiff::tz::TimeZone;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value as Json};

use super::fields::{FIELDS, Field, Form, NUMBER_MAX, PORTAL_ENABLED, PORTAL_REDIRECTS};
use crate::{
    absolute_url::{is_absolute_url, is_plain},
    error::{ApiError, Fault},
    http::extract::unknown_name,
};

/// An error of one value.
enum Wrong {
    /// The form is wrong: a 422 that names the place.
    Form(String, &'static str),
    /// The content is wrong: a 400 with its own code.
    Content(&'static str, String),
}

/// Returns the change as it is stored: values in canonical form, null where a setting returns to its default.
///
/// # Errors
/// 422 with all errors of form, including unknown settings; otherwise 400 for the first error of content:
/// `timezone_unknown`, `interval_too_small` or `redirect_url_invalid`.
pub(super) fn checked(asked: Map<String, Json>) -> Result<Vec<(&'static Field, Json)>, ApiError> {
    let (mut values, mut faults, mut refused) = (Vec::new(), Vec::new(), None);
    for (name, value) in asked {
        let checked = match Field::named(&name) {
            Some(field) => check(field, value).map(|value| (field, value)),
            None => {
                let names = FIELDS.iter().map(|field| field.name).collect::<Vec<_>>();
                Err(Wrong::Form(unknown_name("setting", &name, &names), "extra_forbidden"))
            }
        };
        match checked {
            Ok(value) => values.push(value),
            Err(Wrong::Form(msg, kind)) => faults.push(Fault::new(["body".to_owned(), name], msg, kind)),
            Err(Wrong::Content(code, detail)) => {
                refused.get_or_insert(ApiError::bad_request(code, format!("{name}: {detail}")));
            }
        }
    }
    if !faults.is_empty() {
        return Err(ApiError::unprocessable(faults));
    }
    refused.map_or(Ok(values), Err)
}

/// Checks settings that depend on each other.
///
/// # Errors
/// 400 `portal_redirects_missing`.
pub(super) fn check_together(value: impl Fn(&str) -> Json) -> Result<(), ApiError> {
    let is_on = value(PORTAL_ENABLED) == Json::Bool(true);
    if is_on && PORTAL_REDIRECTS.iter().any(|name| value(name).is_null()) {
        return Err(ApiError::bad_request(
            "portal_redirects_missing",
            format!(
                "the auth portal leads back to your pages: set {} before it is on",
                PORTAL_REDIRECTS.join(" and ")
            ),
        ));
    }
    Ok(())
}

fn check(field: &Field, value: Json) -> Result<Json, Wrong> {
    match (field.form, value) {
        (_, Json::Null) => Ok(Json::Null),
        (Form::Flag, Json::Bool(flag)) => Ok(flag.into()),
        (Form::Flag, _) => Err(Wrong::Form("this must be true or false".into(), "bool_type")),
        (Form::Minutes | Form::Count, value) => number(field, &value),
        (_, Json::String(text)) if text.chars().count() > field.chars_max() => {
            let msg = format!("this has at most {} characters", field.chars_max());
            Err(Wrong::Form(msg, "string_too_long"))
        }
        (form, Json::String(text)) => check_text(form, &text).map(Json::String),
        _ => Err(Wrong::Form("this must be text".into(), "string_type")),
    }
}

fn number(field: &Field, value: &Json) -> Result<Json, Wrong> {
    match value.as_i64() {
        Some(number @ 1..=NUMBER_MAX) => Ok(number.into()),
        Some(..1) if field.form == Form::Minutes => {
            Err(Wrong::Content("interval_too_small", "an interval is 1 minute or more".into()))
        }
        _ => Err(Wrong::Form(format!("this must be a whole number from 1 to {NUMBER_MAX}"), "int_type")),
    }
}

fn check_text(form: Form, text: &str) -> Result<String, Wrong> {
    let unfit = |msg: &str| Err(Wrong::Form(msg.to_owned(), "value_error"));
    match form {
        Form::Name if text.trim().is_empty() => {
            Err(Wrong::Form("this must not be blank".into(), "string_too_short"))
        }
        Form::Timezone => timezone(text),
        Form::Color if !is_color(text) => unfit("this must be a colour such as #1a2b3c or navy"),
        Form::Url if !is_absolute_url(text) => unfit("this must be a URL such as https://example.org"),
        Form::Image if !is_absolute_url(text) && !is_own_path(text) => {
            unfit("this must be a URL such as https://example.org/logo.png, or a path such as /logo.png")
        }
        Form::Redirect if !is_absolute_url(text) => Err(Wrong::Content(
            "redirect_url_invalid",
            "a redirect URL is absolute: https://app.example.org/signed-in".into(),
        )),
        Form::Redirect if leads_into_admin(text) => Err(Wrong::Content(
            "redirect_url_invalid",
            "a redirect URL leads to your own pages, not into /admin".into(),
        )),
        _ => Ok(text.to_owned()),
    }
}

/// Returns the zone's name as spelled in the time zone database.
fn timezone(text: &str) -> Result<String, Wrong> {
    let zone = TimeZone::get(text).ok();
    zone.as_ref().and_then(TimeZone::iana_name).map(str::to_owned).ok_or_else(|| {
        Wrong::Content("timezone_unknown", format!("{text:?} is no IANA time zone, such as Europe/Berlin"))
    })
}

/// Whether `text` is a CSS colour: digits or a name.
pub(crate) fn is_color(text: &str) -> bool {
    match text.strip_prefix('#') {
        Some(digits) => {
            matches!(digits.len(), 3 | 4 | 6 | 8) && digits.chars().all(|digit| digit.is_ascii_hexdigit())
        }
        None => !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphabetic()),
    }
}

fn is_own_path(text: &str) -> bool {
    text.starts_with('/') && !text.starts_with("//") && is_plain(text)
}

/// Whether a browser that follows the URL requests `/admin` or a path below, on any host.
fn leads_into_admin(text: &str) -> bool {
    let path = text.parse::<Uri>().map(|uri| uri.path().to_owned()).unwrap_or_default();
    let decoded = percent_decode_str(&path).decode_utf8_lossy().to_lowercase();
    let mut walked: Vec<&str> = Vec::new();
    for part in decoded.split(['/', '\\']).filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." {
            walked.pop();
        } else {
            walked.push(part);
        }
    }
    walked.first() == Some(&"admin")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns the stored values, or the code, or the kind of the first error.
    fn outcome(asked: &Json) -> String {
        match checked(asked.as_object().unwrap().clone()) {
            Ok(values) => values.iter().map(|(_, value)| value.to_string()).collect::<Vec<_>>().join(" "),
            Err(error) if error.code != "validation_error" => error.code.into_owned(),
            Err(error) => {
                let body: Json = serde_json::from_slice(&error.to_json()).unwrap();
                body["detail"][0]["type"].as_str().unwrap().to_owned()
            }
        }
    }

    #[test]
    fn a_value_is_taken_in_its_one_form_or_refused() {
        let cases = [
            (json!({"instance_name": "Acme"}), r#""Acme""#),
            (json!({"instance_name": " "}), "string_too_short"),
            (json!({"instance_name": "x".repeat(101)}), "string_too_long"),
            (json!({"instance_name": 1}), "string_type"),
            (json!({"instance_name": null}), "null"),
            (json!({"allow_public_registration": "no"}), "bool_type"),
            (json!({"server_timezone": "europe/berlin"}), r#""Europe/Berlin""#),
            (json!({"server_timezone": "Mars/Olympus"}), "timezone_unknown"),
            (json!({"server_timezone": "../etc/passwd"}), "timezone_unknown"),
            (json!({"token_cleanup_interval": 0}), "interval_too_small"),
            (json!({"token_cleanup_interval": 1.5}), "int_type"),
            (json!({"metrics_collection_interval": -1}), "interval_too_small"),
            (json!({"scheduler_max_schedules_per_tick": 0}), "int_type"),
            (json!({"scheduler_max_schedules_per_tick": 52_560_001}), "int_type"),
            (json!({"storage_endpoint": "s3.example.org"}), "value_error"),
            (json!({"storage_endpoint": "http://127.0.0.1:9000"}), r#""http://127.0.0.1:9000""#),
            (json!({"storage_access_key": ""}), r#""""#),
            (json!({"auth_portal_primary_color": "#1a2b3c"}), r##""#1a2b3c""##),
            (json!({"auth_portal_primary_color": "red;background:url(x)"}), "value_error"),
            (json!({"auth_portal_logo_url": "/logo.png"}), r#""/logo.png""#),
            (json!({"auth_portal_logo_url": "//evil.example/logo.png"}), "value_error"),
            (json!({"auth_portal_logo_url": "javascript:alert(1)"}), "value_error"),
            (json!({"colour": "red"}), "extra_forbidden"),
            (json!({"server_timezone": "X", "colour": "red"}), "extra_forbidden"),
        ];
        for (asked, expected) in cases {
            assert_eq!(outcome(&asked), expected, "{asked}");
        }
    }

    #[test]
    fn a_redirect_leads_to_pages_of_ones_own() {
        for good in [
            "https://app.example.org",
            "http://localhost:3000/in?next=/admin",
            "https://a.example/administration",
        ] {
            assert_eq!(outcome(&json!({"auth_portal_login_redirect_url": good})), format!("{good:?}"));
        }
        for bad in [
            "/signed-in",
            "app.example.org",
            "ftp://example.org",
            "https://",
            "https://user@example.org",
            "https://example.org/admin",
            "https://example.org/ADMIN/x",
            "https://example.org//admin",
            "https://example.org/x/../admin",
            "https://example.org/%61dmin",
            "https://example.org\\admin",
            "javascript:alert(1)",
            "",
        ] {
            let told = outcome(&json!({"auth_portal_login_redirect_url": bad}));
            assert_eq!(told, "redirect_url_invalid", "{bad}");
        }
    }
}
