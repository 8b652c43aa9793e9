//! Names of the Python TinyBase that this program has renamed or dropped, so that its `tinybase.toml` and its variables
//! start this server. Renamed ones are applied; dropped ones are reported once. No former name is refused.

use super::{KEYS, Key, values::Given};

/// The prefix of every variable.
pub(super) const PREFIX: &str = "TINYBASE_";

/// The meaning of a former name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Former {
    /// It sets the key of this name.
    Key(&'static str),
    /// It counts hours, and sets the key of this name, which counts minutes.
    Hours(&'static str),
    /// It has no effect.
    Nothing,
}

/// Former variables without their prefix; in the file each is a section and a key, here joined by `_`. If two set the
/// same key, the later one wins.
const FORMER: &[(&str, Former)] = &[
    ("AUTH_TOKEN_TTL_HOURS", Former::Hours("auth.access_token_ttl_minutes")),
    ("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", Former::Key("auth.access_token_ttl_minutes")),
    ("JWT_REFRESH_TOKEN_EXPIRE_DAYS", Former::Key("auth.refresh_token_ttl_days")),
    ("SERVER_LOG_LEVEL", Former::Key("server.log_level")),
    ("DATABASE_URL", Former::Key("database.url")),
    ("FUNCTIONS_PATH", Former::Key("functions.dir")),
    ("FUNCTION_COLD_START_POOL_SIZE", Former::Key("functions.pool_size")),
    ("FUNCTIONS_COLD_START_POOL_SIZE", Former::Key("functions.pool_size")),
    ("FUNCTION_COLD_START_TTL_SECONDS", Former::Key("functions.idle_ttl_seconds")),
    ("FUNCTIONS_COLD_START_TTL_SECONDS", Former::Key("functions.idle_ttl_seconds")),
    ("MAX_FUNCTION_PAYLOAD_BYTES", Former::Key("functions.payload_bytes_max")),
    ("MAX_FUNCTION_RESULT_BYTES", Former::Key("functions.result_bytes_max")),
    ("API_TOKEN", Former::Nothing),
    ("API_URL", Former::Nothing),
    ("DEBUG", Former::Nothing),
    ("EXTENSIONS_ENABLED", Former::Nothing),
    ("EXTENSIONS_PATH", Former::Nothing),
    ("FUNCTION_LOGGING_ENABLED", Former::Nothing),
    ("FUNCTION_LOGGING_FORMAT", Former::Nothing),
    ("FUNCTION_LOGGING_LEVEL", Former::Nothing),
    ("FUNCTIONS_LOGGING_ENABLED", Former::Nothing),
    ("FUNCTIONS_LOGGING_FORMAT", Former::Nothing),
    ("FUNCTIONS_LOGGING_LEVEL", Former::Nothing),
    ("JWT_ALGORITHM", Former::Nothing),
    ("JWT_SECRET_KEY", Former::Nothing),
    ("RATE_LIMIT_BACKEND", Former::Nothing),
    ("RATE_LIMIT_CACHE_DIR", Former::Nothing),
    ("RATE_LIMIT_REDIS_URL", Former::Nothing),
    ("SCHEDULER_INTERVAL_SECONDS", Former::Nothing),
    ("SERVER_DEBUG", Former::Nothing),
];

/// A section without any effect here: where functions were deployed to.
const DEPLOYMENT_SECTION: &str = "environments";

/// Returns the meaning of the variable `name`, and its index in the order in which former names are applied.
pub(super) fn variable(name: &str) -> Option<(usize, Former)> {
    let bare = name.strip_prefix(PREFIX)?;
    let place = FORMER.iter().position(|(former, _)| *former == bare)?;
    Some((place, FORMER[place].1))
}

/// Does the same for a key of the file, `section.key` or a bare `key`. The Python TinyBase identified each by its
/// variable's name alone.
pub(super) fn line(name: &str) -> Option<(usize, Former)> {
    if name.split('.').next() == Some(DEPLOYMENT_SECTION) {
        return Some((0, Former::Nothing));
    }
    let flat = format!("{PREFIX}{}", name.replace('.', "_").to_uppercase());
    let of_today = || KEYS.iter().find(|key| key.variable == flat).map(|key| (0, Former::Key(key.name)));
    variable(&flat).or_else(of_today)
}

/// Translates a value: the Python TinyBase accepted log levels in either case, and had other names for two of them.
pub(super) fn value(key: &Key, given: Given<'_>) -> Option<&'static str> {
    if key.name != "server.log_level" {
        return None;
    }
    match given.text()?.to_ascii_lowercase().as_str() {
        "debug" => Some("debug"),
        "info" => Some("info"),
        "warning" => Some("warn"),
        "error" | "critical" => Some("error"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_former_name_means_a_key_that_there_is() {
        for (former, meaning) in FORMER {
            assert!(KEYS.iter().all(|key| key.variable != format!("{PREFIX}{former}")), "{former} is a key");
            let (Former::Key(name) | Former::Hours(name)) = meaning else { continue };
            assert!(KEYS.iter().any(|key| key.name == *name), "{former} means {name}");
        }
    }
}
