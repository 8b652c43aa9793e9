//! What an operator requests to install: a name with a version requirement, a file or folder, or a URL. Never
//! checks whether it exists.

use std::path::PathBuf;

use semver::VersionReq;
use url::Url;

use super::InstallError;

/// A package requested for installation.
#[derive(Debug, Clone, PartialEq)]
pub enum PackageSpec {
    /// A name, to be found in the registries.
    Named {
        /// The extension's name.
        name: String,
        /// The accepted versions.
        requirement: VersionReq,
    },
    /// A package file, or the folder of an unpacked package.
    Path(PathBuf),
    /// The URL of a package.
    Url(Url),
}

impl PackageSpec {
    /// Parses `NAME`, `NAME@REQ`, a path or a URL. A text that contains a separator, begins with a dot or
    /// ends in `.tbx` is a path.
    ///
    /// # Errors
    /// `source_invalid` with how the text was understood.
    pub fn parse(text: &str) -> Result<PackageSpec, InstallError> {
        let refuse =
            |problem: String| Err(InstallError::new("source_invalid", format!("{text:?}: {problem}")));
        if text.starts_with("https://") || text.starts_with("http://") {
            return match Url::parse(text) {
                Ok(url) => Ok(PackageSpec::Url(url)),
                Err(error) => refuse(format!("no URL: {error}")),
            };
        }
        if text.contains('/') || text.starts_with('.') || text.ends_with(tinybase_package::archive::EXTENSION)
        {
            return Ok(PackageSpec::Path(PathBuf::from(text)));
        }
        PackageSpec::named(text)
    }

    /// Parses a text that may not come from this machine's operator. Never returns a path.
    ///
    /// # Errors
    /// `source_invalid`.
    pub fn parse_remote(text: &str) -> Result<PackageSpec, InstallError> {
        match PackageSpec::parse(text)? {
            PackageSpec::Path(_) => PackageSpec::named(text),
            spec => Ok(spec),
        }
    }

    fn named(text: &str) -> Result<PackageSpec, InstallError> {
        let (name, requirement) = text.split_once('@').unwrap_or((text, "*"));
        let refuse =
            |problem: String| Err(InstallError::new("source_invalid", format!("{text:?}: {problem}")));
        let is_word = name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !is_word {
            return refuse("an extension's name is [a-z][a-z0-9_]*".to_owned());
        }
        match requirement.parse() {
            Ok(requirement) => Ok(PackageSpec::Named { name: name.to_owned(), requirement }),
            Err(error) => refuse(format!("{requirement:?} is no version requirement such as ^1.2: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, requirement: &str) -> PackageSpec {
        PackageSpec::Named { name: name.to_owned(), requirement: requirement.parse().unwrap() }
    }

    #[test]
    fn each_kind_is_told_by_its_form() {
        assert_eq!(PackageSpec::parse("webhooks").unwrap(), named("webhooks", "*"));
        assert_eq!(PackageSpec::parse("webhooks@^1.2").unwrap(), named("webhooks", "^1.2"));
        assert_eq!(PackageSpec::parse("./webhooks").unwrap(), PackageSpec::Path("./webhooks".into()));
        assert_eq!(
            PackageSpec::parse("webhooks-1.0.0-x.tbx").unwrap(),
            PackageSpec::Path("webhooks-1.0.0-x.tbx".into())
        );
        assert!(matches!(PackageSpec::parse("https://example.org/a.tbx").unwrap(), PackageSpec::Url(_)));
        for bad in ["", "Web Hooks", "webhooks@new", "https://", "-x"] {
            assert_eq!(PackageSpec::parse(bad).unwrap_err().code, "source_invalid", "{bad:?}");
        }
    }

    #[test]
    fn a_path_does_not_come_from_elsewhere() {
        for path in ["/etc/passwd", "./x", "x.tbx"] {
            assert_eq!(PackageSpec::parse_remote(path).unwrap_err().code, "source_invalid", "{path}");
        }
        assert_eq!(PackageSpec::parse_remote("search@1").unwrap(), named("search", "1"));
    }
}
