//! Checks joins by column names, `USING (…)` and `NATURAL`. SQLite does not call its authorizer for the columns that
//! they compare, nor for the one that they return in a `FULL JOIN`. An extension's statement with such a join may
//! therefore name no table of others at all. Other statements are not checked here.

use std::collections::HashSet;

use rusqlite::Connection;

use super::{guard::Guard, scope::is_own};
use crate::db::{DbError, SqlOwner};

/// Tables and views, and modules that can be used like a table without having been created.
const TABLES: &str = "SELECT lower(name) FROM sqlite_master WHERE type IN ('table', 'view') \
     UNION SELECT lower(name) FROM pragma_module_list";

/// Tables that every extension may read.
const READABLE: [&str; 3] = ["json_each", "json_tree", "fts5"];

/// The only table of the host that may be joined, and only by its id.
const USERS: &str = "tb_users";

/// A part of a statement that may be a name.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// An unquoted word or a quoted name or text, in lower case.
    Name { text: String, is_quoted: bool },
    /// Any other character.
    Other(char),
}

impl Token {
    fn is_word(&self, word: &str) -> bool {
        matches!(self, Token::Name { text, is_quoted: false } if text == word)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self, Token::Name { text, .. } if text == name)
    }
}

/// Refuses a statement or script of an extension that joins by column names and names a table of others.
///
/// # Errors
/// [`DbError::Denied`] with that table.
pub(super) fn check(
    connection: &Connection,
    guard: &Guard,
    scope: &SqlOwner,
    sql: &str,
) -> Result<(), DbError> {
    let SqlOwner::Extension(name) = scope else { return Ok(()) };
    let tokens = tokens(sql);
    let Some(by_id_alone) = joins(&tokens) else { return Ok(()) };
    let denied = |table: &str| DbError::Denied { scope: name.to_string(), table: table.to_owned() };
    if tokens.iter().any(|token| token.is_word("create")) {
        // Others may later create the tables it names.
        return Err(denied("a definition that joins by the names of columns: join with ON"));
    }
    guard.enter_engine();
    let tables = connection.prepare_cached(TABLES).and_then(|mut statement| {
        statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<HashSet<String>>>()
    });
    let tables = tables.map_err(|error| guard.explain(error))?;
    let is_others = |text: &str| {
        let is_allowed = is_own(name, text) || READABLE.contains(&text) || (by_id_alone && text == USERS);
        let is_table = tables.contains(text) || text.starts_with("sqlite_") || text.starts_with("pragma_");
        is_table && !is_allowed
    };
    let mut names = tokens.iter().filter_map(|token| match token {
        Token::Name { text, .. } => Some(text),
        Token::Other(_) => None,
    });
    match names.find(|text| is_others(text)) {
        None => Ok(()),
        Some(table) => Err(denied(table)),
    }
}

/// Whether the text may contain a join by column names: a quick check, since nearly no statement does.
pub(super) fn may_join(sql: &str) -> bool {
    let has = |word: &[u8]| sql.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    has(b"using") || has(b"natural")
}

/// Whether all joins by column names use `id`; `None` if there is no such join.
fn joins(tokens: &[Token]) -> Option<bool> {
    let mut found = None;
    for (at, token) in tokens.iter().enumerate() {
        let behind = &tokens[at + 1..];
        if token.is_word("natural") {
            found = Some(false);
        } else if token.is_word("using") && behind.first() == Some(&Token::Other('(')) {
            let is_id = behind.get(1).is_some_and(|column| column.is_name("id"));
            let by_id = is_id && behind.get(2) == Some(&Token::Other(')'));
            found = Some(by_id && found.unwrap_or(true));
        }
    }
    found
}

/// Splits a text as SQLite does, without blanks and comments. SQLite treats a text in `'` as a name where it needs one.
fn tokens(sql: &str) -> Vec<Token> {
    let (mut tokens, mut rest) = (Vec::new(), sql);
    while let Some(first) = rest.chars().next() {
        let is_part =
            |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '$') || !char.is_ascii();
        let length = match first {
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest[2..].find("*/").map_or(rest.len(), |end| end + 4),
            '\'' | '"' | '`' | '[' => {
                let (text, length) = quoted(rest, if first == '[' { ']' } else { first });
                tokens.push(Token::Name { text: text.to_ascii_lowercase(), is_quoted: true });
                length
            }
            char if is_part(char) => {
                let length = rest.find(|char| !is_part(char)).unwrap_or(rest.len());
                let text = rest[..length].to_ascii_lowercase();
                tokens.push(Token::Name { text, is_quoted: false });
                length
            }
            char => {
                if !char.is_ascii_whitespace() {
                    tokens.push(Token::Other(char));
                }
                char.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    tokens
}

/// Returns the quoted text at the beginning of `rest`, and its length in bytes with the quotes. A doubled quote stands
/// for one.
fn quoted(rest: &str, end: char) -> (String, usize) {
    let (mut text, mut chars) = (String::new(), rest.char_indices().skip(1).peekable());
    while let Some((at, char)) = chars.next() {
        if char != end {
            text.push(char);
        } else if end != ']' && chars.peek().is_some_and(|(_, next)| *next == end) {
            text.push(char);
            chars.next();
        } else {
            return (text, at + char.len_utf8());
        }
    }
    (text, rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_by_names_are_found() {
        for (sql, expected) in [
            ("SELECT 1 FROM a JOIN b USING (id)", Some(true)),
            ("SELECT 1 FROM a JOIN b using/* */( \"ID\" )", Some(true)),
            ("SELECT 1 FROM a JOIN b USING (id) JOIN c USING (x)", Some(false)),
            ("SELECT 1 FROM a JOIN b USING (id, x)", Some(false)),
            ("SELECT 1 FROM a NATURAL JOIN b", Some(false)),
            ("SELECT 1 FROM a JOIN b USING (id) NATURAL JOIN c", Some(false)),
            ("CREATE VIRTUAL TABLE a USING fts5 (t)", None),
            ("SELECT 'natural join using (x)' -- USING (x)", None),
            ("SELECT \"natural\" FROM a", None),
        ] {
            assert_eq!(joins(&tokens(sql)), expected, "{sql}");
            assert!(expected.is_none() || may_join(sql), "{sql}");
        }
    }

    #[test]
    fn names_are_found_however_they_are_written() {
        for sql in ["TB_Users", "\"tb_users\"", "[tb_users]", "`tb_users`", "'tb_users'", "/*'*/tb_users--'"]
        {
            assert!(tokens(sql)[0].is_name("tb_users"), "{sql}");
        }
        assert_eq!(quoted("\"a\"\"b\" c", '"'), ("a\"b".to_owned(), 6));
        assert_eq!(quoted("'open", '\''), ("open".to_owned(), 5));
    }
}
