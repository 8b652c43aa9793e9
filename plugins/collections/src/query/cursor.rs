//! Cursors: the end of a page as an opaque token. A cursor carries values that are bound and never SQL. It is only
//! valid for the collection, order and filter it was created for.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::QueryFault;
use crate::{
    json::{Json, write_float, write_text},
    limits,
    sql_value::SqlValue,
};

/// The end of a page: the sort values of its last record and its position in the order of creation.
#[derive(Debug, Clone, PartialEq)]
pub struct Position {
    /// One value per sort key.
    pub values: Vec<SqlValue>,
    /// The record's `seq`.
    pub seq: i64,
}

/// Returns a digest of everything that a cursor is bound to.
pub fn fingerprint(parts: &[&str]) -> u64 {
    // FNV-1a, 64 bits: it finds mistakes and is no security measure.
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes
        .fold(0xcbf2_9ce4_8422_2325, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Position {
    /// Encodes the position as a cursor.
    pub fn encode(&self, fingerprint: u64) -> String {
        let mut text = format!("[\"{fingerprint:016x}\",{}", self.seq);
        for value in &self.values {
            text.push(',');
            match value {
                SqlValue::Integer(number) => text.push_str(&number.to_string()),
                SqlValue::Real(number) if number.is_finite() => write_float(&mut text, *number),
                SqlValue::Text(value) => write_text(&mut text, value),
                _ => text.push_str("null"),
            }
        }
        text.push(']');
        URL_SAFE_NO_PAD.encode(text)
    }

    /// Decodes a cursor that was created with `fingerprint` for `keys` sort keys.
    pub fn decode(cursor: &str, fingerprint: u64, keys: usize) -> Result<Position, QueryFault> {
        if cursor.len() > limits::CURSOR_BYTES_MAX {
            return Err(broken());
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| broken())?;
        let Ok(Json::Array(parts)) = Json::parse_bytes(&bytes) else { return Err(broken()) };
        let [Json::Text(made_under), Json::Int(seq), values @ ..] = parts.as_slice() else {
            return Err(broken());
        };
        if **made_under != format!("{fingerprint:016x}") || values.len() != keys {
            let message =
                "was made for another collection, sort, filter or caller: begin again with an empty cursor";
            return Err(QueryFault::new("cursor", "invalid_cursor", message));
        }
        let values = values.iter().map(value).collect::<Option<_>>().ok_or_else(broken)?;
        Ok(Position { values, seq: *seq })
    }
}

fn value(json: &Json<'_>) -> Option<SqlValue> {
    Some(match json {
        Json::Null => SqlValue::Null,
        Json::Int(number) => SqlValue::Integer(*number),
        Json::Float(number) => SqlValue::Real(*number),
        Json::Text(text) => SqlValue::Text(text.to_string()),
        _ => return None,
    })
}

fn broken() -> QueryFault {
    QueryFault::new(
        "cursor",
        "invalid_cursor",
        "is no cursor of this server: begin again with an empty cursor",
    )
}
