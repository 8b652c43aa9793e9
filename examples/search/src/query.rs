//! The query language: words, "phrases", -excluded, prefix*. A query is parsed into terms, which are written as the
//! engine's own query, so that no input becomes syntax there.

use tinybase_plugin_api::prelude::*;

use crate::limits;

/// A parsed query with at least one term to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    wanted: Vec<Term>,
    excluded: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    /// The text as typed, without control characters. The engine splits it into words as it does the records'
    /// texts.
    text: String,
    is_prefix: bool,
}

impl Query {
    /// Parses a query.
    ///
    /// # Errors
    /// 422 `query_too_long`, `query_too_many_terms`, `query_prefix_too_short`, `query_empty`, `query_only_excluded`.
    pub fn parse(text: &str) -> Result<Query> {
        if text.len() > limits::QUERY_BYTES_MAX {
            let message = format!("q: a query has at most {} bytes", limits::QUERY_BYTES_MAX);
            return Err(fault("query_too_long", message));
        }
        let mut query = Query { wanted: Vec::new(), excluded: Vec::new() };
        let mut left = text;
        while let Some((term, is_excluded, rest)) = next_term(left) {
            left = rest;
            // A term without letters and digits finds nothing.
            let Some(term) = term else { continue };
            if term.is_prefix && term.text.chars().count() < limits::PREFIX_CHARS_MIN {
                let message = format!("q: a prefix has at least {} characters", limits::PREFIX_CHARS_MIN);
                return Err(fault("query_prefix_too_short", message));
            }
            let list = if is_excluded { &mut query.excluded } else { &mut query.wanted };
            list.push(term);
        }
        if query.wanted.len() + query.excluded.len() > limits::QUERY_TERMS_MAX {
            let message = format!("q: a query has at most {} words and phrases", limits::QUERY_TERMS_MAX);
            return Err(fault("query_too_many_terms", message));
        }
        match (query.wanted.is_empty(), query.excluded.is_empty()) {
            (false, _) => Ok(query),
            (true, true) => Err(fault("query_empty", "q: say what is searched for")),
            (true, false) => {
                Err(fault("query_only_excluded", "q: say what is searched for, beside what is not"))
            }
        }
    }

    /// Returns the query for FTS5, with every term in quotes.
    pub fn fts5(&self) -> String {
        let all = |terms: &[Term], with: &str| terms.iter().map(fts5).collect::<Vec<_>>().join(with);
        let wanted = all(&self.wanted, " AND ");
        if self.excluded.is_empty() {
            return wanted;
        }
        format!("({wanted}) NOT ({})", all(&self.excluded, " OR "))
    }

    /// Returns the wanted terms for `to_tsquery`, with every term in quotes.
    pub fn wanted_tsquery(&self) -> String {
        self.wanted.iter().map(tsquery).collect::<Vec<_>>().join(" & ")
    }

    /// Returns the whole query for `to_tsquery`.
    pub fn tsquery(&self) -> String {
        let excluded = self.excluded.iter().map(|term| format!(" & !({})", tsquery(term)));
        std::iter::once(self.wanted_tsquery()).chain(excluded).collect()
    }
}

fn fault(code: &'static str, message: impl Into<String>) -> Error {
    let message = message.into();
    let detail = json!([{"loc": ["query", "q"], "msg": message, "type": code}]);
    Error::unprocessable(code, message).with_details(detail)
}

fn fts5(term: &Term) -> String {
    let star = if term.is_prefix { " *" } else { "" };
    format!("\"{}\"{star}", term.text.replace('"', "\"\""))
}

fn tsquery(term: &Term) -> String {
    let star = if term.is_prefix { ":*" } else { "" };
    format!("'{}'{star}", term.text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Returns the next term, whether it is excluded, and the rest of the text. The term is `None` if it cannot match
/// anything.
fn next_term(text: &str) -> Option<(Option<Term>, bool, &str)> {
    let text = text.trim_start_matches(|char: char| char.is_whitespace() || char.is_control());
    let (is_excluded, text) = match text.strip_prefix('-') {
        Some(rest) if !rest.starts_with(char::is_whitespace) => (true, rest),
        _ => (false, text),
    };
    if text.is_empty() {
        return None;
    }
    let (typed, rest) = match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
        None => {
            text.split_at(text.find(|char: char| char.is_whitespace() || char == '"').unwrap_or(text.len()))
        }
    };
    let (typed, rest, is_prefix) = match (rest.strip_prefix('*'), typed.strip_suffix('*')) {
        (Some(rest), _) if text.starts_with('"') => (typed, rest, true),
        (_, Some(typed)) if !text.starts_with('"') => (typed, rest, true),
        _ => (typed, rest, false),
    };
    let cleaned: String = typed.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    let cleaned = cleaned.trim_matches(|char: char| !char.is_alphanumeric());
    let term = (!cleaned.is_empty()).then(|| Term { text: cleaned.to_owned(), is_prefix });
    Some((term, is_excluded, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_written_as_both_engines_read_it() {
        for (text, fts5, tsquery) in [
            ("red fox", r#""red" AND "fox""#, "'red' & 'fox'"),
            (r#""red fox" den"#, r#""red fox" AND "den""#, "'red fox' & 'den'"),
            (
                "fox -hound -\"red dog\"",
                r#"("fox") NOT ("hound" OR "red dog")"#,
                "'fox' & !('hound') & !('red dog')",
            ),
            ("fo* \"red fo\"*", r#""fo" * AND "red fo" *"#, "'fo':* & 'red fo':*"),
            ("fox -hou*", r#"("fox") NOT ("hou" *)"#, "'fox' & !('hou':*)"),
            // The engines' syntax is treated as words.
            ("AND OR NOT NEAR", r#""AND" AND "OR" AND "NOT" AND "NEAR""#, "'AND' & 'OR' & 'NOT' & 'NEAR'"),
            (
                "title:x (a|b) ^c {d e}:f",
                r#""title:x" AND "a|b" AND "c" AND "d" AND "e}:f""#,
                "'title:x' & 'a|b' & 'c' & 'd' & 'e}:f'",
            ),
            ("it's a\\b 'x''y", r#""it's" AND "a\b" AND "x''y""#, "'it''s' & 'a\\\\b' & 'x''''y'"),
            (r#"a"b"c"#, r#""a" AND "b" AND "c""#, "'a' & 'b' & 'c'"),
            (r#""not closed"#, r#""not closed""#, "'not closed'"),
            ("fox - hound", r#""fox" AND "hound""#, "'fox' & 'hound'"),
            ("e-mail --x", r#"("e-mail") NOT ("x")"#, "'e-mail' & !('x')"),
            ("a\u{0}b \u{1}", r#""a b""#, "'a b'"),
            ("!!! fox *** -***", r#""fox""#, "'fox'"),
            ("größe 東京* Ñ", r#""größe" AND "東京" * AND "Ñ""#, "'größe' & '東京':* & 'Ñ'"),
        ] {
            let query = Query::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!((query.fts5().as_str(), query.tsquery().as_str()), (fts5, tsquery), "{text:?}");
        }
    }

    #[test]
    fn what_finds_nothing_or_too_much_is_refused_by_name() {
        for (text, code) in [
            (String::new(), "query_empty"),
            ("   ".into(), "query_empty"),
            ("!!! \"\" *".into(), "query_empty"),
            ("-fox".into(), "query_only_excluded"),
            ("-fox -\"red dog\" ***".into(), "query_only_excluded"),
            ("f*".into(), "query_prefix_too_short"),
            ("x".repeat(limits::QUERY_BYTES_MAX + 1), "query_too_long"),
            ("a ".repeat(limits::QUERY_TERMS_MAX + 1), "query_too_many_terms"),
        ] {
            let error = Query::parse(&text).unwrap_err();
            assert_eq!((error.status(), error.code()), (422, code), "{text:?}");
        }
        assert!(Query::parse(&"a ".repeat(limits::QUERY_TERMS_MAX)).is_ok());
    }
}
