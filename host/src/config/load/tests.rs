//! Data-driven tests of the layers and of every error message, and the check of `docs/configuration.md`.

use std::{fmt::Write, path::Path};

use super::*;

fn load(file: &str, variables: &[(&str, &str)], flags: &[Flag]) -> Result<Config, ConfigError> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::from_layers(Path::new("/srv/app"), file, variables, flags)
}

fn port(value: &str) -> Flag {
    Flag { flag: "--port", key: "server.port", value: value.to_owned() }
}

#[test]
fn later_layers_win() {
    let file = "[server]\nport = 1\nhost = \"::1\"\n";
    assert_eq!(load("", &[], &[]).unwrap().server.port, 8000);
    assert_eq!(load(file, &[], &[]).unwrap().server.port, 1);
    let variables = [("TINYBASE_SERVER_PORT", "2")];
    assert_eq!(load(file, &variables, &[]).unwrap().server.port, 2);
    let config = load(file, &variables, &[port("3")]).unwrap();
    assert_eq!((config.server.port, config.server.host.as_str()), (3, "::1"));
}

/// A file, variables, and the expected result of loading them.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

const FAULTS: &[Case] = &[
    (
        "[server]\n\nprot = 1",
        &[],
        "tinybase.toml line 3: there is no key server.prot; did you mean server.port?",
    ),
    ("[sever]\nport = 1", &[], "tinybase.toml line 2: there is no key sever.port; did you mean server.port?"),
    ("port = 1", &[], "tinybase.toml line 1: there is no key port; docs/configuration.md lists every key"),
    (
        "[server]\nport = 70000",
        &[],
        "tinybase.toml line 2: server.port cannot be 70000; allowed: a port from 0 to 65535",
    ),
    (
        "[server]\nport = -1",
        &[],
        "tinybase.toml line 2: server.port cannot be -1; allowed: a port from 0 to 65535",
    ),
    (
        "[server]\nport = \"80\"",
        &[],
        "tinybase.toml line 2: server.port cannot be \"80\"; allowed: a port from 0 to 65535",
    ),
    (
        "[server]\nlog_level = \"loud\"",
        &[],
        "tinybase.toml line 2: server.log_level cannot be \"loud\"; allowed: error, warn, info, debug or trace",
    ),
    (
        "[server]\nhost = \" \"",
        &[],
        "tinybase.toml line 2: server.host cannot be \" \"; allowed: an IP address or a host name",
    ),
    (
        "[rate_limit]\nenabled = 1",
        &[],
        "tinybase.toml line 2: rate_limit.enabled cannot be 1; allowed: true or false",
    ),
    (
        "[cors]\nallow_origins = \"https://a.example\"",
        &[],
        "tinybase.toml line 2: cors.allow_origins cannot be \"https://a.example\"; allowed: a list of origins such as https://app.example.org, or *",
    ),
    (
        "[cors]\nallow_origins = [\"a.example\"]",
        &[],
        "tinybase.toml line 2: cors.allow_origins cannot be [\"a.example\"]; allowed: a list of origins such as https://app.example.org, or *",
    ),
    (
        "[auth]\naccess_token_ttl_minutes = 0",
        &[],
        "tinybase.toml line 2: auth.access_token_ttl_minutes cannot be 0; allowed: minutes, 1 to 525600",
    ),
    (
        "[database]\nurl = \"mysql://me:secret@host/db\"",
        &[],
        "tinybase.toml line 2: database.url cannot be what it is set to; allowed: sqlite://PATH or postgres://…",
    ),
    (
        "[server]\ntrusted_proxies = [\"10.0.0.0/33\"]",
        &[],
        "tinybase.toml line 2: server.trusted_proxies cannot be [\"10.0.0.0/33\"]; allowed: a list of addresses or networks such as 10.0.0.0/8",
    ),
    (
        "[cors]\nallow_origins = [1]",
        &[],
        "tinybase.toml line 2: cors.allow_origins cannot be of the type array; allowed: a list of origins such as https://app.example.org, or *",
    ),
    (
        "[node]\nheartbeat_ms = 5000",
        &[("TINYBASE_NODE_TIMEOUT_MS", "6000")],
        "node.timeout_ms cannot be 6000; allowed: 15000 or more, since it is at least 3 times node.heartbeat_ms, which is 5000",
    ),
    ("[server\nport = 1", &[], "tinybase.toml line 1: this is not TOML: unclosed table, expected `]`"),
    (
        "",
        &[("TINYBASE_LOG_FORMAT", "xml")],
        "the variable TINYBASE_LOG_FORMAT: server.log_format cannot be \"xml\"; allowed: text or json",
    ),
    (
        "",
        &[("TINYBASE_SCHEDULER_ENABLED", "yes")],
        "the variable TINYBASE_SCHEDULER_ENABLED: scheduler.enabled cannot be \"yes\"; allowed: true or false",
    ),
];

#[test]
fn every_fault_tells_name_place_and_what_is_allowed() {
    for (file, variables, expected) in FAULTS {
        let fault = load(file, variables, &[]).expect_err(expected).to_string();
        assert_eq!(&fault, expected);
        assert!(!fault.contains('\n') && !fault.contains("secret"), "{fault}");
    }
    let fault = load("", &[], &[port("x")]).unwrap_err().to_string();
    assert_eq!(fault, "the flag --port: server.port cannot be \"x\"; allowed: a port from 0 to 65535");
}

#[test]
fn variables_that_are_no_keys_are_left_alone() {
    let variables = [
        ("TINYBASE_ADMIN_EMAIL", "a@example.org"),
        ("TINYBASE_COPY_FROM", "sqlite://./a.db"),
        ("TINYBASE_COPY_TO", "sqlite://./b.db"),
        ("TINYBASE_SERVICE_HOST", "10.0.0.1"),
        ("TINYBASE_PORT", "tcp://10.0.0.1:80"),
        ("TINYBASE_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("PATH", "/bin"),
    ];
    assert!(load("", &variables, &[]).unwrap().warnings.is_empty());
}

#[test]
fn an_unknown_variable_is_a_warning_with_the_nearest_name() {
    for (name, nearest) in [
        ("TINYBASE_SERVER_PROT", "TINYBASE_SERVER_PORT"),
        ("TINYBASE_ADMIN_PASWORD", "TINYBASE_ADMIN_PASSWORD"),
    ] {
        let config = load("", &[(name, "1")], &[]).unwrap();
        let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
        let ending = format!("did you mean {nearest}?");
        assert!(warning.contains(name) && warning.ends_with(&ending), "{warning}");
    }
}

/// The example file from the documentation of the Python TinyBase.
const FORMER_FILE: &str = r#"
debug = true

[server]
host = "0.0.0.0"
port = 9000
debug = false
log_level = "WARNING"

[database]
url = "sqlite:///./tinybase.db"

[auth]
token_ttl_hours = 8

[jwt]
algorithm = "HS256"
access_token_expire_minutes = 90
refresh_token_expire_days = 7
secret_key = "s3cret-of-old"

[functions]
path = "./my_functions"
logging_enabled = true
logging_level = "INFO"
logging_format = "json"
cold_start_pool_size = 5
cold_start_ttl_seconds = 60

[scheduler]
enabled = true
interval_seconds = 5

[rate_limit]
backend = "diskcache"
cache_dir = "./.tinybase/rate_limit_cache"

[cors]
allow_origins = ["*"]

[admin]
static_dir = "builtin"

[extensions]
enabled = true
path = "~/.tinybase/extensions"

[email]
enabled = false
smtp_host = "smtp.example.com"
smtp_port = 587

[environments.staging]
url = "https://staging.example.org"
api_token = "s3cret-of-old"
"#;

#[test]
fn the_file_of_the_python_tinybase_is_understood() {
    let config = load(FORMER_FILE, &[], &[]).unwrap();
    assert_eq!((config.server.port, config.server.log_level.as_str()), (9000, "warn"));
    assert_eq!((config.auth.access_token_ttl_minutes, config.auth.refresh_token_ttl_days), (90, 7));
    assert_eq!((config.functions.pool_size, config.functions.idle_ttl_seconds), (5, 60));
    assert_eq!(config.functions.dir, Path::new("./my_functions"));
    let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    for name in [
        "debug (",
        "server.debug (tinybase.toml line 7)",
        "jwt.secret_key",
        "environments.staging",
        "extensions.path",
    ] {
        assert!(warning.contains(name), "{name}: {warning}");
    }
    assert!(!warning.contains("s3cret") && !warning.contains("token_ttl_hours"), "{warning}");
}

#[test]
fn the_variables_of_the_python_tinybase_are_understood() {
    let variables = [
        ("TINYBASE_JWT_ACCESS_TOKEN_EXPIRE_MINUTES", "30"),
        ("TINYBASE_AUTH_TOKEN_TTL_HOURS", "8"),
        ("TINYBASE_FUNCTIONS_PATH", "./f"),
        ("TINYBASE_MAX_FUNCTION_PAYLOAD_BYTES", "2048"),
        ("TINYBASE_LOG_LEVEL", "critical"),
        ("TINYBASE_CORS_ALLOW_ORIGINS", "[\"https://a.example\"]"),
        ("TINYBASE_API_URL", "https://api.example.org"),
        ("TINYBASE_API_TOKEN", "s3cret"),
        ("TINYBASE_DEBUG", "true"),
    ];
    let config = load("", &variables, &[]).unwrap();
    assert_eq!((config.auth.access_token_ttl_minutes, config.functions.payload_bytes_max), (30, 2048));
    assert_eq!(
        (config.functions.dir.as_path(), config.server.log_level.as_str()),
        (Path::new("./f"), "error")
    );
    assert_eq!(config.cors.allow_origins, ["https://a.example"]);
    let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    assert!(warning.contains("TINYBASE_API_TOKEN, TINYBASE_API_URL, TINYBASE_DEBUG;"), "{warning}");
}

#[test]
fn a_name_of_today_wins_over_a_former_one() {
    let file = "[auth]\naccess_token_ttl_minutes = 5\ntoken_ttl_hours = 8\n";
    assert_eq!(load(file, &[], &[]).unwrap().auth.access_token_ttl_minutes, 5);
    let config =
        load("[db]\nurl = \"sqlite://./x.db\"\n[auth]\ntoken_ttl_hours = \"long\"", &[], &[]).unwrap();
    assert_eq!(config.database.url, DatabaseUrl::Sqlite("./x.db".into()));
    assert!(config.warnings[0].contains("auth.token_ttl_hours"), "{:?}", config.warnings);
}

#[test]
fn a_list_is_read_from_file_and_variable() {
    let file = "[cors]\nallow_origins = [\"https://a.example\", \"http://b.example:81\"]";
    let expected = ["https://a.example", "http://b.example:81"];
    assert_eq!(load(file, &[], &[]).unwrap().cors.allow_origins, expected);
    let variables = [("TINYBASE_CORS_ALLOW_ORIGINS", " https://a.example, http://b.example:81,")];
    assert_eq!(load("", &variables, &[]).unwrap().cors.allow_origins, expected);
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let config = load("", &[], &[]).unwrap();
    assert_eq!(config.path("./a/b"), Path::new("/srv/app/a/b"));
    assert_eq!(config.path("/var/x"), Path::new("/var/x"));
    assert_eq!(config.state_dir(), Path::new("/srv/app/.tinybase"));
}

#[test]
fn the_written_file_shows_the_defaults() {
    let template = crate::config::template();
    let shown = |config: &Config| KEYS.iter().map(|key| key.show(config)).collect::<Vec<_>>();
    assert_eq!(shown(&load(&template, &[], &[]).unwrap()), shown(&Config::default()));
    let uncommented = template.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if rest.contains(" = ") => rest,
        _ => line,
    });
    let uncommented = uncommented.collect::<Vec<_>>().join("\n");
    assert_eq!(shown(&load(&uncommented, &[], &[]).unwrap()), shown(&Config::default()), "{uncommented}");
    assert!(uncommented.lines().filter(|line| line.contains(" = ")).count() >= KEYS.len());
}

#[test]
fn secrets_do_not_show() {
    let file = "[email]\nsmtp_password = \"hunter22\"\n[database]\nurl = \"postgres://me:hunter22@host/db\"";
    let shown = format!("{:?}", load(file, &[], &[]).unwrap());
    assert!(!shown.contains("hunter22"), "{shown}");
}

#[test]
fn every_default_is_a_value_that_its_key_takes() {
    let config = Config::default();
    for key in KEYS {
        let shown = key.show(&config);
        if shown.is_empty() || shown == "[]" {
            continue;
        }
        let mut changed = Config::default();
        assert!((key.set)(&mut changed, Given::Text(&shown)).is_some(), "{} = {shown}", key.name);
        assert_eq!(key.show(&changed), shown, "{}", key.name);
    }
}

#[test]
fn names_and_variables_are_unique() {
    for (position, key) in KEYS.iter().enumerate() {
        let twin = KEYS[position + 1..]
            .iter()
            .find(|other| other.name == key.name || other.variable == key.variable);
        assert!(twin.is_none(), "{} and {:?}", key.name, twin.map(|key| key.name));
    }
}

/// The table in `docs/configuration.md` matches the code; `UPDATE_EXPECT=1` rewrites it.
#[test]
fn the_documentation_lists_every_key() {
    let mut table = String::from("| key | default | variable | allowed | meaning |\n|---|---|---|---|---|\n");
    let defaults = Config::default();
    for key in KEYS {
        let default = key.show(&defaults);
        let default = if default.is_empty() { "unset".to_owned() } else { format!("`{default}`") };
        let (name, variable, allowed, meaning) = (key.name, key.variable, key.allowed, key.meaning.trim());
        writeln!(table, "| `{name}` | {default} | `{variable}` | {allowed} | {meaning} |").unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let start = page.find("| key |").expect("the page has the table of keys");
    let end = page[start..].find("\n\n").map_or(page.len(), |length| start + length + 1);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, format!("{}{table}{}", &page[..start], &page[end..])).unwrap();
        return;
    }
    assert_eq!(&page[start..end], table, "run the test with UPDATE_EXPECT=1 to write the table again");
}
