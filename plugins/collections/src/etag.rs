//! Entity tags of records and collections, and the preconditions of `If-Match` and `If-None-Match`. It never reads storage.

/// Returns the tag of a record: its version, and a digest of its creation time. A record that was deleted and created
/// again under the same id gets another tag.
pub fn of_record(version: i64, created_at: &str) -> String {
    // FNV-1a, 32 bits: it distinguishes creations and is no security measure.
    let digest = created_at
        .bytes()
        .fold(0x811c_9dc5_u32, |digest, byte| (digest ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("\"{version}-{digest:08x}\"")
}

/// Returns the tag of a collection. With and without its rules it has different tags, so that neither matches the
/// other.
pub fn of_collection(revision: i64, created_at: &str, with_rules: bool) -> String {
    let tag = of_record(revision, created_at);
    if with_rules { tag } else { format!("{}-public\"", tag.trim_end_matches('"')) }
}

/// Returns whether the value of an `If-Match` or `If-None-Match` header includes `tag` (`*` includes every tag). `weak`
/// also accepts a tag marked `W/`, as `If-None-Match` does.
pub fn matches(header: &str, tag: &str, weak: bool) -> bool {
    header.split(',').map(str::trim).any(|candidate| {
        let candidate = if weak { candidate.strip_prefix("W/").unwrap_or(candidate) } else { candidate };
        candidate == "*" || candidate == tag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_changes_with_version_and_creation() {
        let tag = of_record(1, "2026-01-01T00:00:00.000000Z");
        assert_ne!(tag, of_record(2, "2026-01-01T00:00:00.000000Z"));
        assert_ne!(tag, of_record(1, "2026-01-01T00:00:00.000001Z"));
    }

    #[test]
    fn headers_name_tags() {
        for (header, weak, expected) in [
            ("\"1-a\"", false, true),
            ("\"0\", \"1-a\"", false, true),
            ("*", false, true),
            ("W/\"1-a\"", false, false),
            ("W/\"1-a\"", true, true),
            ("\"1-b\"", false, false),
            ("1-a", false, false),
            ("", true, false),
        ] {
            assert_eq!(matches(header, "\"1-a\"", weak), expected, "{header}");
        }
    }
}
