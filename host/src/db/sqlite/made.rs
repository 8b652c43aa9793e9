//! Checks what an extension has just created, before it takes effect. SQLite parses the body of a trigger or view, the
//! tables that foreign keys refer to and the options of virtual tables only later, and then in the name of any owner
//! that happens to run a statement. It undoes nothing itself.

use std::time::Duration;

pub(super) use super::scope::Made;
use super::{connection::SqliteConnection, scope::is_own};
use crate::db::{DbError, SqlOwner};

/// The only table of the host that an extension's tables may refer to, by its id.
const REFERABLE: &str = "tb_users";

const REFERENCES: &str = "SELECT \"table\", coalesce(\"to\", 'id') FROM pragma_foreign_key_list(?1)";
const COLUMNS: &str = "SELECT name, '' FROM pragma_table_xinfo(?1) WHERE hidden = 0";
const DEFINITION: &str =
    "SELECT sql, '' FROM sqlite_master WHERE name = ?1 COLLATE NOCASE AND sql IS NOT NULL";

/// Refuses what the extension `name` has created if it uses something of others.
///
/// # Errors
/// [`DbError::Denied`] with what it would touch.
pub(super) fn check(
    link: &SqliteConnection,
    name: &str,
    made: &[Made],
    time_max: Duration,
) -> Result<(), DbError> {
    let denied = |table: &str| Err(DbError::Denied { scope: name.to_owned(), table: table.to_owned() });
    for one in made {
        match one {
            Made::Table(table) => {
                let is_foreign = |(to, column): &&(String, String)| {
                    let is_users = to.eq_ignore_ascii_case(REFERABLE) && column.eq_ignore_ascii_case("id");
                    !(is_own(name, to) || is_users)
                };
                if let Some((to, _)) = link.engine_pairs(REFERENCES, table)?.iter().find(is_foreign) {
                    return denied(to);
                }
            }
            Made::Virtual(table) => {
                let sql = link.engine_pairs(DEFINITION, table)?;
                let content = sql.iter().find_map(|(sql, _)| content_of(sql));
                if let Some(content) = content.filter(|content| !is_own(name, content)) {
                    return denied(&content);
                }
            }
            Made::View(view) => compile(link, name, &[format!("SELECT * FROM {}", quoted(view))], time_max)?,
            Made::Trigger(table) => {
                let columns = link.engine_pairs(COLUMNS, table)?;
                let sets: Vec<String> = columns.iter().map(|(column, _)| quoted(column)).collect();
                let sets: Vec<String> = sets.iter().map(|column| format!("{column} = {column}")).collect();
                let table = quoted(table);
                let statements = [
                    format!("INSERT INTO {table} DEFAULT VALUES"),
                    format!("UPDATE {table} SET {}", sets.join(", ")),
                    format!("DELETE FROM {table}"),
                ];
                compile(link, name, &statements, time_max)?;
            }
        }
    }
    Ok(())
}

/// Makes SQLite parse statements in the extension's name, without running them. A body may name something that is
/// created later; any other error could hide a denial.
fn compile(
    link: &SqliteConnection,
    name: &str,
    statements: &[String],
    time_max: Duration,
) -> Result<(), DbError> {
    let scope = SqlOwner::Extension(name.into());
    for sql in statements {
        link.guard.enter(&scope, time_max);
        let Err(error) = link.connection.prepare(sql) else { continue };
        match link.guard.explain(error) {
            DbError::Sql(problem) if may_be_made_later(&problem) => {}
            other => return Err(other),
        }
    }
    Ok(())
}

fn may_be_made_later(problem: &str) -> bool {
    // A view without triggers of its own cannot be changed, and a table without columns of its own cannot be updated.
    ["no such", "cannot modify", "cannot UPDATE", "syntax error", "incomplete input"]
        .iter()
        .any(|words| problem.contains(words))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns the table that a full-text table takes its content from. FTS5 recognizes an option by the first letters of
/// its name.
fn content_of(sql: &str) -> Option<String> {
    let (_, arguments) = sql.split_once('(')?;
    let options = arguments.trim_end_matches(|c: char| c == ')' || c == ';' || c.is_whitespace()).split(',');
    let mut content = options.filter_map(|option| {
        let (key, value) = option.split_once('=')?;
        let key = key.trim().to_ascii_lowercase();
        let is_content = !key.is_empty() && "content".starts_with(&key);
        is_content.then(|| value.trim().trim_matches(['\'', '"', '`', '[', ']']).to_owned())
    });
    content.rfind(|table| !table.is_empty())
}

#[cfg(test)]
mod tests {
    use super::content_of;

    #[test]
    fn the_content_of_a_full_text_table_is_found() {
        let of = |options: &str| content_of(&format!("CREATE VIRTUAL TABLE a_f USING fts5 (a, b{options})"));
        for options in
            [", content = 'tb_users'", ", CONTENT=tb_users", ", co=[tb_users]", ",content=\"tb_users\" "]
        {
            assert_eq!(of(options).as_deref(), Some("tb_users"), "{options}");
        }
        for options in [
            "",
            ", content = ''",
            ", tokenize = 'porter'",
            ", content_rowid = 'tb_users'",
            ", prefix = '2 3'",
        ] {
            assert_eq!(of(options), None, "{options}");
        }
    }
}
