//! The request bodies of `/api/admin/extensions`.

use semver::VersionReq;

use crate::http::extract::{Fields, Input};

/// The longest source, in characters.
const SOURCE_CHARS_MAX: usize = 2_000;

/// A request to install an extension.
#[derive(Debug)]
pub(super) struct Install {
    /// `NAME`, `NAME@REQ` or a URL.
    pub source: String,
    /// Whether the publisher may differ from the previous one.
    pub accept_publisher: bool,
    /// Whether to return the plan without executing it.
    pub dry_run: bool,
}

/// A change of an extension.
#[derive(Debug)]
pub(super) struct Patch {
    /// Whether it is loaded.
    pub is_enabled: Option<bool>,
    /// The requirement whose newest matching version is installed.
    pub version: Option<VersionReq>,
    /// Whether the publisher may differ from the previous one.
    pub accept_publisher: bool,
}

impl Input for Install {
    fn read(fields: &mut Fields) -> Option<Install> {
        let source = fields.text_of("source", 1, SOURCE_CHARS_MAX);
        let accept_publisher = fields.optional_flag("accept_publisher");
        let dry_run = fields.optional_flag("dry_run");
        Some(Install {
            source: source?,
            accept_publisher: accept_publisher?.unwrap_or(false),
            dry_run: dry_run?.unwrap_or(false),
        })
    }
}

impl Input for Patch {
    fn read(fields: &mut Fields) -> Option<Patch> {
        let is_enabled = fields.optional_flag("is_enabled");
        let version = read_requirement(fields);
        let accept_publisher = fields.optional_flag("accept_publisher");
        let patch = Patch {
            is_enabled: is_enabled?,
            version: version?,
            accept_publisher: accept_publisher?.unwrap_or(false),
        };
        if patch.is_enabled.is_none() && patch.version.is_none() {
            fields.fault("is_enabled", "give is_enabled, version or both", "missing");
        }
        Some(patch)
    }
}

fn read_requirement(fields: &mut Fields) -> Option<Option<VersionReq>> {
    let Some(text) = fields.optional_text("version")? else { return Some(None) };
    let read = text.parse().ok();
    if read.is_none() {
        fields.fault("version", "this must be a version requirement such as ^1.2", "version_requirement");
    }
    read.map(Some)
}
