//! SQL functions that replace SQLite's own `like`, `instr` and `replace`, whose run time grows with the product of the
//! lengths of two texts and which cannot be interrupted. They return what SQLite's return.

use std::{borrow::Cow, panic::AssertUnwindSafe, sync::Arc};

use memchr::memmem;
use rusqlite::{
    Connection, Error, ffi,
    functions::{Context, FunctionFlags},
    limits::Limit,
    types::ValueRef,
};
use tinybase_like::{Like, PATTERN_BYTES_MAX, Stopped};

use super::guard::Guard;

/// The longest text or blob that a statement may produce, and so the largest row, in bytes.
const VALUE_BYTES_MAX: i32 = 64 << 20;
/// The longest pattern of `GLOB`, in bytes. Its run time grows with the product of the lengths of pattern and text.
const GLOB_BYTES_MAX: i32 = 256;

/// The same flags as SQLite's own: the result depends only on the arguments, and a schema may use the functions.
const FLAGS: FunctionFlags = FunctionFlags::SQLITE_UTF8
    .union(FunctionFlags::SQLITE_DETERMINISTIC)
    .union(FunctionFlags::SQLITE_INNOCUOUS);

/// Installs the functions and the limits on a connection.
pub(super) fn install(connection: &Connection, guard: &Arc<Guard>) -> rusqlite::Result<()> {
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, GLOB_BYTES_MAX)?;
    for arguments in [2, 3] {
        let guard = AssertUnwindSafe(Arc::clone(guard));
        connection.create_scalar_function("like", arguments, FLAGS, move |context| like(context, &guard))?;
    }
    connection.create_scalar_function("instr", 2, FLAGS, instr)?;
    connection.create_scalar_function("replace", 3, FLAGS, replace)
}

/// A parsed pattern, and the escape character it was parsed with.
struct Read {
    escape: Option<char>,
    like: Like,
}

/// `like(pattern, text)` and `like(pattern, text, escape)`, which `text LIKE pattern ESCAPE escape` calls.
fn like(context: &Context<'_>, guard: &Guard) -> rusqlite::Result<Option<bool>> {
    let escape = if context.len() == 3 {
        let Some(escape) = text(context.get_raw(2)) else { return Ok(None) };
        let escape = String::from_utf8_lossy(&escape);
        let mut chars = escape.chars();
        match (chars.next(), chars.next()) {
            (Some(char), None) => Some(char),
            _ => return Err(fault("ESCAPE expression must be a single character")),
        }
    } else {
        None
    };
    let read = |value: ValueRef<'_>| {
        let pattern = text(value).ok_or_else(|| fault(""))?;
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(fault("LIKE or GLOB pattern too complex"));
        }
        Ok(Read { escape, like: Like::new(&String::from_utf8_lossy(&pattern), escape) })
    };
    if context.get_raw(0) == ValueRef::Null {
        return Ok(None);
    }
    let Some(tested) = text(context.get_raw(1)) else { return Ok(None) };
    // SQLite keeps the parsed pattern while the statement runs, if the pattern is constant.
    let mut pattern = context.get_or_create_aux(0, read)?;
    if pattern.escape != escape {
        pattern = Arc::new(read(context.get_raw(0))?);
    }
    let fits = pattern.like.matches_unless(&String::from_utf8_lossy(&tested), || guard.must_stop());
    fits.map(Some).map_err(|Stopped| Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_INTERRUPT), None))
}

/// `instr(text, part)`: the position of the part, in characters from 1, or in bytes if both are blobs; 0 if there is
/// none.
fn instr(context: &Context<'_>) -> rusqlite::Result<Option<i64>> {
    let (whole, part) = (context.get_raw(0), context.get_raw(1));
    let are_blobs = matches!((whole, part), (ValueRef::Blob(_), ValueRef::Blob(_)));
    let (Some(whole), Some(part)) = (text(whole), text(part)) else { return Ok(None) };
    // A character begins with any byte but a continuation byte.
    let begins = |at: &usize| are_blobs || part.is_empty() || whole[*at] & 0xC0 != 0x80 || *at == 0;
    let position = memmem::find_iter(&whole, &part[..]).find(begins).map_or(0, |at| {
        let before = &whole[..at];
        1 + if are_blobs { at } else { before.iter().filter(|byte| **byte & 0xC0 != 0x80).count() }
    });
    Ok(i64::try_from(position).ok())
}

/// `replace(text, part, other)`.
fn replace(context: &Context<'_>) -> rusqlite::Result<Option<String>> {
    let (Some(whole), Some(part)) = (text(context.get_raw(0)), text(context.get_raw(1))) else {
        return Ok(None);
    };
    if part.first().is_none_or(|byte| *byte == 0) {
        return utf8(whole.into_owned()).map(Some);
    }
    let Some(other) = text(context.get_raw(2)) else { return Ok(None) };
    let mut made = Vec::with_capacity(whole.len());
    let mut rest = 0;
    for at in memmem::find_iter(&whole, &part[..]) {
        made.extend_from_slice(&whole[rest..at]);
        made.extend_from_slice(&other);
        rest = at + part.len();
        if made.len() > VALUE_BYTES_MAX as usize {
            return Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_TOOBIG), None));
        }
    }
    made.extend_from_slice(&whole[rest..]);
    utf8(made).map(Some)
}

fn utf8(bytes: Vec<u8>) -> rusqlite::Result<String> {
    String::from_utf8(bytes).map_err(|_| fault("a text in the database is not UTF-8"))
}

fn fault(message: &str) -> Error {
    Error::UserFunctionError(message.into())
}

/// Converts a value to text as SQLite does; `None` is null.
fn text(value: ValueRef<'_>) -> Option<Cow<'_, [u8]>> {
    match value {
        ValueRef::Null => None,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(Cow::Borrowed(bytes)),
        ValueRef::Integer(number) => Some(Cow::Owned(number.to_string().into_bytes())),
        ValueRef::Real(number) => Some(Cow::Owned(real_text(number).into_bytes())),
    }
}

/// Formats a number as SQLite does. An in-memory database does it, because no other code produces exactly the same
/// digits.
fn real_text(number: f64) -> String {
    thread_local! {
        static WRITER: Option<Connection> = Connection::open_in_memory().ok();
    }
    let written = WRITER.with(|writer| {
        let mut statement = writer.as_ref()?.prepare_cached("SELECT CAST(?1 AS TEXT)").ok()?;
        statement.query_row([number], |row| row.get(0)).ok()
    });
    written.unwrap_or_else(|| number.to_string())
}
