//! Filters, order and paging of the list of users. It never changes one.

use tinybase_abi::codec::Value;
use unicode_normalization::UnicodeNormalization;

use super::{UserAnswer, UsersAnswer, statements::columns};
use crate::{
    accounts::Role,
    db::DbError,
    http::query::Page,
    sql::{HostSql, integer},
};

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UserSort {
    /// By email.
    Email,
    /// By email, descending.
    EmailDown,
    /// Oldest first.
    Created,
    /// Newest first.
    #[default]
    CreatedDown,
    /// Least recent sign-in first; users who never signed in come before all others.
    LastLogin,
    /// Most recent sign-in first; users who never signed in come last.
    LastLoginDown,
}

impl UserSort {
    /// The names of all orders in a query.
    pub const NAMES: [&str; 6] =
        ["email", "-email", "created_at", "-created_at", "last_login_at", "-last_login_at"];

    /// Returns the order with this name.
    pub fn from_name(name: &str) -> Option<UserSort> {
        Some(match name {
            "email" => UserSort::Email,
            "-email" => UserSort::EmailDown,
            "created_at" => UserSort::Created,
            "-created_at" => UserSort::CreatedDown,
            "last_login_at" => UserSort::LastLogin,
            "-last_login_at" => UserSort::LastLoginDown,
            _ => return None,
        })
    }

    fn sql(self) -> &'static str {
        match self {
            UserSort::Email => "u.email",
            UserSort::EmailDown => "u.email DESC",
            UserSort::Created => "u.created_at, u.id",
            UserSort::CreatedDown => "u.created_at DESC, u.id DESC",
            UserSort::LastLogin => "u.last_login_at NULLS FIRST, u.id",
            UserSort::LastLoginDown => "u.last_login_at DESC NULLS LAST, u.id DESC",
        }
    }
}

/// A query for users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsersAsked {
    /// A part of the email, case-insensitive.
    pub search: Option<String>,
    /// The role.
    pub role: Option<Role>,
    /// Whether the user may sign in.
    pub is_active: Option<bool>,
    /// The order.
    pub sort: UserSort,
    /// The page of the list.
    pub page: Page,
}

// A parameter takes its type from its first comparison, so `IS NULL` comes second.
const WHERE: &str = "(u.email LIKE ?1 ESCAPE '!' OR ?1 IS NULL) AND (u.role = ?2 OR ?2 IS NULL) \
     AND (u.is_active = ?3 OR ?3 IS NULL)";

/// Returns the requested page of users.
pub(super) async fn page(sql: &HostSql, asked: &UsersAsked) -> Result<UsersAnswer, DbError> {
    let Page { limit, offset } = asked.page;
    let search = asked.search.as_deref().map(pattern);
    let filters = [search.into(), asked.role.map(Role::name).into(), asked.is_active.into()];
    let count = sql.scan(&format!("SELECT count(*) FROM tb_users u WHERE {WHERE}"), &filters).await?;
    let select = format!(
        "SELECT {} FROM tb_users u WHERE {WHERE} ORDER BY {} LIMIT ?4 OFFSET ?5",
        columns!(),
        asked.sort.sql()
    );
    let number = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let params = [&filters[..], &[number(limit), number(offset)]].concat();
    let rows = sql.scan(&select, &params).await?;
    let total = count.first().map_or(0, |row| integer(row, 0));
    Ok(UsersAnswer { users: rows.iter().map(UserAnswer::from_row).collect(), total, limit, offset })
}

/// Returns the pattern for emails that contain this part, normalized like stored emails.
fn pattern(part: &str) -> String {
    let part = part.trim().nfkc().collect::<String>().to_lowercase();
    let escaped = part.replace('!', "!!").replace('%', "!%").replace('_', "!_");
    format!("%{escaped}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_searched_is_no_pattern_itself() {
        for (part, expected) in [("Ada", "%ada%"), (" a_%b! ", "%a!_!%b!!%"), ("", "%%"), ("ＡＢ", "%ab%")]
        {
            assert_eq!(pattern(part), expected, "{part:?}");
        }
    }
}
