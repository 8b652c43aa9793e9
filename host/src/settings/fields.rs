//! Declares all settings of the host that an admin can change at run time, each once: its name, form and default. It
//! never reads or writes one.

use serde_json::{Value as Json, json};

/// The form of a setting's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A name that is not blank, of at most 100 characters.
    Name,
    /// True or false.
    Flag,
    /// An IANA time zone.
    Timezone,
    /// Minutes between two runs of something, 1 or more.
    Minutes,
    /// A number of 1 or more.
    Count,
    /// Text of at most 255 characters.
    Text,
    /// A CSS colour: `#1a2b3c` or a name.
    Color,
    /// An absolute HTTP URL.
    Url,
    /// An absolute HTTP URL, or a path of this server.
    Image,
    /// An absolute HTTP URL that does not lead to the administration.
    Redirect,
    /// Text that is stored sealed and never returned.
    Secret,
}

/// A setting.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The name, which is also its key in the table.
    pub name: &'static str,
    /// The form of its values.
    pub form: Form,
    /// The value if none is stored.
    default: Default,
}

#[derive(Debug, Clone, Copy)]
enum Default {
    None,
    Text(&'static str),
    Flag(bool),
    Number(i64),
}

impl Field {
    /// Returns its value if none is stored.
    pub fn default(&self) -> Json {
        match self.default {
            Default::None => Json::Null,
            Default::Text(text) => text.into(),
            Default::Flag(flag) => flag.into(),
            Default::Number(number) => number.into(),
        }
    }

    /// Whether it is never returned.
    pub fn is_secret(&self) -> bool {
        self.form == Form::Secret
    }

    /// Returns the setting with this name.
    pub fn named(name: &str) -> Option<&'static Field> {
        FIELDS.iter().find(|field| field.name == name)
    }

    /// Returns the JSON Schema of its value in a response.
    pub fn schema(&self) -> Json {
        let mut schema = match self.form {
            Form::Flag => json!({"type": "boolean"}),
            Form::Minutes | Form::Count => json!({"type": "integer", "minimum": 1, "maximum": NUMBER_MAX}),
            Form::Name => json!({"type": "string", "minLength": 1, "maxLength": NAME_CHARS_MAX}),
            Form::Timezone
            | Form::Text
            | Form::Color
            | Form::Url
            | Form::Image
            | Form::Redirect
            | Form::Secret => json!({"type": "string", "maxLength": self.chars_max()}),
        };
        match self.default() {
            Json::Null => schema["type"] = json!([schema["type"], "null"]),
            default => schema["default"] = default,
        }
        schema
    }

    /// Returns the maximum number of characters of a text.
    pub(super) fn chars_max(&self) -> usize {
        match self.form {
            Form::Name => NAME_CHARS_MAX,
            Form::Url | Form::Image | Form::Redirect => URL_CHARS_MAX,
            Form::Secret => SECRET_CHARS_MAX,
            _ => TEXT_CHARS_MAX,
        }
    }
}

/// The largest number of a setting: the minutes in 100 years of 365 days.
pub(super) const NUMBER_MAX: i64 = 52_560_000;
const NAME_CHARS_MAX: usize = 100;
const TEXT_CHARS_MAX: usize = 255;
const URL_CHARS_MAX: usize = 2000;
const SECRET_CHARS_MAX: usize = 1000;

/// Whether the sign-in pages are served.
pub(super) const PORTAL_ENABLED: &str = "auth_portal_enabled";
/// The redirect targets of the pages, which must be set before the pages are served.
pub(super) const PORTAL_REDIRECTS: [&str; 2] =
    ["auth_portal_login_redirect_url", "auth_portal_register_redirect_url"];
/// The minutes between two collections of the metrics.
pub const METRICS_INTERVAL: &str = "metrics_collection_interval";

const fn field(name: &'static str, form: Form, default: Default) -> Field {
    Field { name, form, default }
}

/// All settings, in the order of the response.
pub const FIELDS: &[Field] = &[
    field(super::INSTANCE_NAME, Form::Name, Default::Text("TinyBase")),
    field(super::ALLOW_PUBLIC_REGISTRATION, Form::Flag, Default::Flag(true)),
    field("server_timezone", Form::Timezone, Default::Text("UTC")),
    field("token_cleanup_interval", Form::Minutes, Default::Number(60)),
    field(METRICS_INTERVAL, Form::Minutes, Default::Number(5)),
    field("scheduler_function_timeout_seconds", Form::Count, Default::None),
    field("scheduler_max_schedules_per_tick", Form::Count, Default::None),
    field("scheduler_max_concurrent_executions", Form::Count, Default::None),
    field("max_concurrent_functions_per_user", Form::Count, Default::None),
    field("storage_enabled", Form::Flag, Default::Flag(false)),
    field("storage_endpoint", Form::Url, Default::None),
    field("storage_bucket", Form::Text, Default::None),
    field("storage_region", Form::Text, Default::None),
    field("storage_access_key", Form::Secret, Default::None),
    field("storage_secret_key", Form::Secret, Default::None),
    field(PORTAL_ENABLED, Form::Flag, Default::Flag(false)),
    field("auth_portal_logo_url", Form::Image, Default::None),
    field("auth_portal_primary_color", Form::Color, Default::None),
    field("auth_portal_background_image_url", Form::Image, Default::None),
    field(PORTAL_REDIRECTS[0], Form::Redirect, Default::None),
    field(PORTAL_REDIRECTS[1], Form::Redirect, Default::None),
];
