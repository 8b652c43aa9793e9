//! The types of configuration values, and how each is read from TOML or from a variable's text. It does not know the
//! keys.

use std::path::PathBuf;

use toml::de::DeValue;

use crate::secrets::Secret;

/// A value as given by a layer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Given<'a> {
    /// The text of a variable or a flag.
    Text(&'a str),
    /// A value of the file.
    Toml(&'a DeValue<'a>),
}

impl<'a> Given<'a> {
    /// Returns the text of a variable, or a string of the file.
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Given::Text(text) => Some(text),
            Given::Toml(value) => value.as_str(),
        }
    }
}

/// The type of a key.
pub(super) trait Kind: Sized {
    /// Whether a value may contain a secret. No error then shows it, not even one of a wrong type.
    const IS_SECRET: bool = false;
    /// Returns the value, if it is of this type.
    fn read(given: Given<'_>) -> Option<Self>;
    /// Returns the value as written in the file; empty if unset.
    fn show(&self) -> String;
    /// Returns the value as TOML; most are text.
    fn toml(&self) -> String {
        format!("{:?}", self.show())
    }
}

impl Kind for String {
    fn read(given: Given<'_>) -> Option<String> {
        given.text().map(str::to_owned)
    }
    fn show(&self) -> String {
        self.clone()
    }
}

impl Kind for PathBuf {
    fn read(given: Given<'_>) -> Option<PathBuf> {
        given.text().filter(|text| !text.is_empty()).map(PathBuf::from)
    }
    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Kind for Option<PathBuf> {
    fn read(given: Given<'_>) -> Option<Option<PathBuf>> {
        given.text().map(|text| (!text.is_empty()).then(|| PathBuf::from(text)))
    }
    fn show(&self) -> String {
        self.as_ref().map(Kind::show).unwrap_or_default()
    }
}

impl Kind for bool {
    fn read(given: Given<'_>) -> Option<bool> {
        match given {
            Given::Text(text) => text.parse().ok(),
            Given::Toml(value) => value.as_bool(),
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
    fn toml(&self) -> String {
        self.show()
    }
}

macro_rules! kind_of_number {
    ($($number:ty)*) => {$(
        impl Kind for $number {
            fn read(given: Given<'_>) -> Option<$number> {
                match given {
                    Given::Text(text) => text.parse().ok(),
                    Given::Toml(value) => {
                        let number = value.as_integer()?;
                        <$number>::from_str_radix(number.as_str(), number.radix()).ok()
                    }
                }
            }
            fn show(&self) -> String {
                self.to_string()
            }
            fn toml(&self) -> String {
                self.show()
            }
        }
    )*};
}
kind_of_number!(u16 u32 u64 usize);

impl Kind for f64 {
    fn read(given: Given<'_>) -> Option<f64> {
        match given {
            Given::Text(text) => text.parse().ok(),
            Given::Toml(value) => match value.as_float() {
                Some(number) => number.as_str().parse().ok(),
                // An integer such as 1 is also valid.
                None => u32::read(given).map(f64::from),
            },
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
    fn toml(&self) -> String {
        self.show()
    }
}

impl Kind for Vec<String> {
    fn read(given: Given<'_>) -> Option<Vec<String>> {
        let items = match given {
            // As in the file: some programs write lists into variables that way.
            Given::Text(text) if text.trim_start().starts_with('[') => {
                serde_json::from_str::<Vec<String>>(text)
                    .ok()?
                    .into_iter()
                    .map(|item| Some(item.trim().to_owned()))
                    .collect()
            }
            Given::Text(text) => text.split(',').map(|item| Some(item.trim().to_owned())).collect(),
            Given::Toml(value) => value
                .as_array()?
                .iter()
                .map(|item| item.get_ref().as_str().map(|text| text.trim().to_owned()))
                .collect::<Option<Vec<String>>>(),
        };
        items.map(|items| items.into_iter().filter(|item| !item.is_empty()).collect())
    }
    fn show(&self) -> String {
        let items = self.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>();
        format!("[{}]", items.join(", "))
    }
    fn toml(&self) -> String {
        self.show()
    }
}

impl Kind for Secret {
    const IS_SECRET: bool = true;
    fn read(given: Given<'_>) -> Option<Secret> {
        given.text().map(|text| text.to_owned().into())
    }
    fn show(&self) -> String {
        String::new()
    }
}

macro_rules! words {
    ($(
        $(#[$about:meta])*
        $Name:ident { $($(#[$meaning:meta])* $Word:ident = $word:literal,)* }
    )*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $Name { $($(#[$meaning])* $Word,)* }

        impl $Name {
            /// Returns its name in the configuration.
            pub fn as_str(self) -> &'static str {
                match self { $($Name::$Word => $word,)* }
            }
        }

        impl Kind for $Name {
            fn read(given: Given<'_>) -> Option<$Name> {
                match given.text()? { $($word => Some($Name::$Word),)* _ => None }
            }
            fn show(&self) -> String {
                self.as_str().to_owned()
            }
        }
    )*};
}
words! {
    /// The least severe lines that are logged.
    LogLevel {
        /// Errors only.
        Error = "error",
        /// Warnings too.
        Warn = "warn",
        /// Also what an operator wants to know.
        Info = "info",
        /// Also what a developer wants to know.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
    /// How log lines are written.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
    /// What happens to an extension that a registry revoked.
    Revoked {
        /// It is disabled.
        Disable = "disable",
        /// It is logged.
        Warn = "warn",
    }
    /// When a write is acknowledged.
    Durability {
        /// Once it is on disk.
        Full = "full",
        /// Once the operating system has it.
        Normal = "normal",
    }
    /// How the connection to the mail server is encrypted.
    SmtpTls {
        /// Upgraded after the greeting.
        Starttls = "starttls",
        /// From its first byte.
        Tls = "tls",
        /// Not at all.
        None = "none",
    }
}
