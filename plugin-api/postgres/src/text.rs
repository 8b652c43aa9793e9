//! The text of a statement: converts parameters to PostgreSQL's syntax and detects scripts. It checks nothing.

/// Replaces `?1` with `$1`, except in strings, quoted names and comments.
pub fn number_params(sql: &str) -> String {
    name_params(sql, "$")
}

/// Replaces `?1` with `<prefix>1`, except in strings, quoted names and comments.
pub fn name_params(sql: &str, prefix: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(at) = rest.find(['?', '\'', '"', '-', '/', '$']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = quoted_length(rest).unwrap_or_else(|| {
            let is_param = rest.starts_with('?') && rest[1..].starts_with(|next: char| next.is_ascii_digit());
            // Slicing by 1 is safe: all searched characters are ASCII.
            out.push_str(if is_param { prefix } else { &rest[..1] });
            rest = &rest[1..];
            0
        });
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out.push_str(rest);
    out
}

/// Returns the length of the string, quoted name or comment at the start of `text`, if there is one.
fn quoted_length(text: &str) -> Option<usize> {
    let end =
        |close: &str, from: usize| text[from..].find(close).map_or(text.len(), |at| from + at + close.len());
    match text.as_bytes() {
        // A doubled quote ends one string and begins the next, which has the same effect.
        [b'\'', ..] => Some(end("'", 1)),
        [b'"', ..] => Some(end("\"", 1)),
        [b'-', b'-', ..] => Some(end("\n", 2)),
        [b'/', b'*', ..] => Some(end("*/", 2)),
        [b'$', ..] => {
            let tag_end = 2 + text[1..].find('$')?;
            let tag = &text[..tag_end];
            let is_tag = tag[1..tag_end - 1].bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && !tag[1..].starts_with(|first: char| first.is_ascii_digit());
            is_tag.then(|| end(tag, tag_end))
        }
        _ => None,
    }
}

/// Returns whether a text without parameters is run as a script, with the protocol that keeps no prepared
/// statement: one that may contain several statements, and any that changes the schema.
pub fn is_script(sql: &str) -> bool {
    let text = sql.trim();
    let word = text.split(|next: char| !next.is_ascii_alphabetic()).next().unwrap_or_default();
    let is_plain = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES"]
        .iter()
        .any(|plain| plain.eq_ignore_ascii_case(word));
    !is_plain || text.trim_end_matches(';').contains(';')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_outside_of_quotes_alone() {
        for (sql, expected) in [
            ("SELECT ?1, ?12", "SELECT $1, $12"),
            ("SELECT '?1', \"?1\", ?1", "SELECT '?1', \"?1\", $1"),
            ("SELECT 'it''s ?1' || ?1", "SELECT 'it''s ?1' || $1"),
            ("SELECT 1 -- ?1\n, ?1", "SELECT 1 -- ?1\n, $1"),
            ("SELECT 1 /* ?1 */ - ?1 / ?2", "SELECT 1 /* ?1 */ - $1 / $2"),
            ("SELECT d ? 'a', d -> ?1", "SELECT d ? 'a', d -> $1"),
            ("SELECT $x$ ?1 $x$, ?1", "SELECT $x$ ?1 $x$, $1"),
            ("SELECT $$ ?1 ' $$, ?1", "SELECT $$ ?1 ' $$, $1"),
            ("SELECT 'ä?1', ?1, 'open", "SELECT 'ä?1', $1, 'open"),
        ] {
            assert_eq!(number_params(sql), expected);
        }
    }
}
