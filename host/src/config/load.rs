//! Merges the layers: defaults, `tinybase.toml`, `TINYBASE_*` variables, flags. It never guesses: an unknown key or a
//! bad value is an error with its name, its place and the allowed values. An unknown variable is only a warning, since
//! other programs' variables may have the same prefix.

use std::{fmt, io, path::Path};

use toml::de::DeTable;

use super::{
    Config, DatabaseUrl, KEYS, Key,
    former::{self, Former},
    pairs,
    values::{Given, Kind},
};
use crate::nearest::closest;

/// The name of the configuration file.
pub const FILE_NAME: &str = "tinybase.toml";

/// Variables with our prefix that are not configuration keys: `init` and `db copy` read them.
const OTHER_VARIABLES: &[&str] = &[
    "TINYBASE_ADMIN_EMAIL",
    "TINYBASE_ADMIN_PASSWORD",
    "TINYBASE_COPY_FROM",
    "TINYBASE_COPY_TO",
    crate::secrets::KEY_VARIABLE,
];

/// Prefixes of the variables that Kubernetes sets in every container if there is a service called `tinybase`.
const FOREIGN_VARIABLE_PREFIXES: &[&str] = &["TINYBASE_SERVICE_", "TINYBASE_PORT"];

/// A command line flag that sets a key.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The flag as typed: `--port`.
    pub flag: &'static str,
    /// The name of the key, such as `server.port`.
    pub key: &'static str,
    /// The value.
    pub value: String,
}

/// The place of a faulty value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of the file, from 1.
    File(usize),
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(line) => write!(formatter, "{FILE_NAME} line {line}"),
            Place::Variable(name) => write!(formatter, "the variable {name}"),
            Place::Flag(flag) => write!(formatter, "the flag {flag}"),
        }
    }
}

/// Why the configuration is not valid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No key has this name.
    #[error("{place}: there is no key {name}; {allowed}")]
    UnknownKey {
        /// The name as written.
        name: String,
        /// The place.
        place: Place,
        /// A suggestion, or where the known names are listed.
        allowed: String,
    },
    /// The value is not allowed for the key.
    #[error("{place}: {name} cannot be {value}; allowed: {allowed}")]
    BadValue {
        /// The key.
        name: &'static str,
        /// The place.
        place: Place,
        /// The value as given; secrets are hidden.
        value: String,
        /// The allowed values.
        allowed: &'static str,
    },
    /// The value contradicts that of another key.
    #[error("{name} cannot be {value}; allowed: {allowed}")]
    Contradiction {
        /// The key.
        name: &'static str,
        /// The current value.
        value: String,
        /// The allowed values, with the other key's name.
        allowed: String,
    },
    /// The file is not valid TOML.
    #[error("{place}: this is not TOML: {problem}")]
    Syntax {
        /// The place.
        place: Place,
        /// The parser's message.
        problem: String,
    },
    /// The file exists, but cannot be read.
    #[error("{path} cannot be read: {cause}; check its permissions, or start in another folder")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's error.
        cause: io::Error,
    },
}

impl Config {
    /// Loads the configuration of the folder `dir` with the variables of the process and these flags.
    pub fn load(dir: &Path, flags: &[Flag]) -> Result<Config, ConfigError> {
        Config::load_file(dir, &dir.join(FILE_NAME), flags)
    }

    /// Does the same with another file.
    pub fn load_file(dir: &Path, path: &Path, flags: &[Flag]) -> Result<Config, ConfigError> {
        let file = match std::fs::read_to_string(path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => String::new(),
            Err(cause) => return Err(ConfigError::Unreadable { path: path.display().to_string(), cause }),
        };
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
            })
            .collect::<Vec<_>>();
        let dir = std::path::absolute(dir)
            .map_err(|cause| ConfigError::Unreadable { path: dir.display().to_string(), cause })?;
        let mut config = Config::from_layers(&dir, &file, variables, flags)?;
        config.make_paths_absolute();
        Ok(config)
    }

    fn make_paths_absolute(&mut self) {
        self.extensions.dir = self.path(&self.extensions.dir);
        self.extensions.roots_dir = self.path(&self.extensions.roots_dir);
        self.functions.dir = self.path(&self.functions.dir);
        self.public.static_dir = self.public.static_dir.as_ref().map(|dir| self.path(dir));
        if self.admin.static_dir != "builtin" {
            self.admin.static_dir = self.path(&self.admin.static_dir).display().to_string();
        }
        if let DatabaseUrl::Sqlite(path) = &self.database.url {
            self.database.url = DatabaseUrl::Sqlite(self.path(path));
        }
    }

    /// Does the same from given layers: the file's text, all variables, the flags.
    pub fn from_layers(
        dir: &Path,
        file: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: &[Flag],
    ) -> Result<Config, ConfigError> {
        let mut config = Config { dir: dir.to_owned(), ..Config::default() };
        let mut unused = config.apply_file(file)?;
        unused.extend(config.apply_variables(variables)?);
        for flag in flags {
            let key = find(flag.key).expect("every flag names a key that exists");
            config.apply(key, Given::Text(&flag.value), Place::Flag(flag.flag))?;
        }
        if let Some(found) = pairs::contradiction(&config) {
            let (name, value, allowed) = (found.key, found.value, found.allowed);
            return Err(ConfigError::Contradiction { name, value, allowed });
        }
        config.warn_of(&unused);
        Ok(config)
    }

    /// Records oddities that do not prevent a start.
    fn warn_of(&mut self, unused: &[String]) {
        if self.admin.static_dir != Config::default().admin.static_dir {
            let words = "admin.static_dir has no effect yet: no admin UI comes with this version";
            self.warnings.push(words.to_owned());
        }
        self.warnings.extend(pairs::never_reached(self));
        if !unused.is_empty() {
            let named = unused.join(", ");
            self.warnings.push(format!(
                "these have no effect here: {named}; docs/configuration.md tells what stands in their place"
            ));
        }
    }

    fn apply(&mut self, key: &'static Key, given: Given<'_>, place: Place) -> Result<(), ConfigError> {
        let here = former::value(key, given).map_or(given, Given::Text);
        (key.set)(self, here).ok_or_else(|| ConfigError::BadValue {
            name: key.name,
            place,
            value: told(key, given),
            allowed: key.allowed,
        })
    }

    /// Applies a former name. Returns whether it has no effect.
    fn apply_former(&mut self, former: Former, given: Given<'_>) -> bool {
        let (name, minutes) = match former {
            Former::Nothing => return true,
            Former::Key(name) => (name, None),
            Former::Hours(name) => match u32::read(given).and_then(|hours| hours.checked_mul(60)) {
                Some(minutes) => (name, Some(minutes.to_string())),
                None => return true,
            },
        };
        let key = find(name).expect("every former name means a key that exists");
        let given = minutes.as_deref().map_or(given, Given::Text);
        self.apply(key, given, Place::Variable(String::new())).is_err()
    }

    /// Applies variables, former names first. Returns those that have no effect.
    fn apply_variables(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Vec<String>, ConfigError> {
        let (mut formers, mut own) = (Vec::new(), Vec::new());
        for (name, value) in variables {
            match former::variable(&name) {
                Some((place, former)) => formers.push((place, name, former, value)),
                None => own.push((name, value)),
            }
        }
        formers.sort_by_key(|(place, ..)| *place);
        let mut unused = Vec::new();
        for (_, name, former, value) in formers {
            if self.apply_former(former, Given::Text(&value)) {
                unused.push(name);
            }
        }
        for (name, value) in own {
            self.apply_variable(name, &value)?;
        }
        Ok(unused)
    }

    fn apply_variable(&mut self, name: String, value: &str) -> Result<(), ConfigError> {
        if let Some(key) = KEYS.iter().find(|key| key.variable == name) {
            return self.apply(key, Given::Text(value), Place::Variable(name));
        }
        let foreign = FOREIGN_VARIABLE_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if name.starts_with(former::PREFIX) && !foreign && !OTHER_VARIABLES.contains(&name.as_str()) {
            let known = KEYS.iter().map(|key| key.variable).chain(OTHER_VARIABLES.iter().copied());
            let nearest = closest(&name, known).map_or("", |(_, nearest)| nearest);
            let words = format!(
                "the variable {name} has no effect: there is none of this name; did you mean {nearest}?"
            );
            self.warnings.push(words);
        }
        Ok(())
    }

    /// Applies the file, former names first. Returns those that have no effect.
    fn apply_file(&mut self, file: &str) -> Result<Vec<String>, ConfigError> {
        let document = DeTable::parse(file).map_err(|error| ConfigError::Syntax {
            place: Place::File(line_of(file, error.span().map_or(0, |span| span.start))),
            problem: error.message().replace('\n', " "),
        })?;
        let (mut formers, mut own) = (Vec::new(), Vec::new());
        for (section, keys) in document.get_ref() {
            let table = keys.get_ref().as_table();
            let lines = table.into_iter().flatten().map(|(key, value)| {
                (format!("{}.{}", section.get_ref(), key.get_ref()), key.span().start, value)
            });
            let lone = table.is_none().then(|| (section.get_ref().to_string(), section.span().start, keys));
            for (name, at, value) in lines.chain(lone) {
                match (find(&name), former::line(&name)) {
                    (Some(key), _) => own.push((key, value)),
                    (None, Some((place, former))) => formers.push((place, name, former, at, value)),
                    (None, None) => return Err(unknown(file, &name, at)),
                }
            }
        }
        formers.sort_by_key(|(place, ..)| *place);
        let mut unused = Vec::new();
        for (_, name, former, at, value) in formers {
            if self.apply_former(former, Given::Toml(value.get_ref())) {
                unused.push(format!("{name} ({FILE_NAME} line {})", line_of(file, at)));
            }
        }
        for (key, value) in own {
            let place = Place::File(line_of(file, value.span().start));
            self.apply(key, Given::Toml(value.get_ref()), place)?;
        }
        Ok(unused)
    }
}

fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

fn line_of(file: &str, at: usize) -> usize {
    file.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

fn unknown(file: &str, name: &str, at: usize) -> ConfigError {
    ConfigError::UnknownKey {
        name: name.to_owned(),
        place: Place::File(line_of(file, at)),
        allowed: nearest(name, KEYS.iter().map(|key| key.name)),
    }
}

/// Returns the value as shown in an error: shortened, and hidden if it may contain a secret.
fn told(key: &Key, given: Given<'_>) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    if key.is_secret {
        return "what it is set to".to_owned();
    }
    match given {
        Given::Text(text) => format!("{:?}", text.chars().take(SHOWN_CHARS_MAX).collect::<String>()),
        Given::Toml(value) => match (value.as_str(), value.as_integer(), value.as_bool()) {
            (Some(text), _, _) => format!("{:?}", text.chars().take(SHOWN_CHARS_MAX).collect::<String>()),
            (_, Some(number), _) => number.to_string(),
            (_, _, Some(flag)) => flag.to_string(),
            _ => match Vec::<String>::read(given) {
                Some(items) => items.show().chars().take(SHOWN_CHARS_MAX).collect(),
                None => format!("of the type {}", value.type_str()),
            },
        },
    }
}

/// Suggests the key that was probably meant, or says where all keys are listed.
fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> String {
    const DISTANCE_MAX: usize = 3;
    match closest(name, known) {
        Some((steps, candidate)) if steps <= DISTANCE_MAX => format!("did you mean {candidate}?"),
        _ => "docs/configuration.md lists every key".to_owned(),
    }
}

#[cfg(test)]
mod tests;
