//! Decodes the record of applied migrations. It makes no decisions from it.

use tinybase_abi::codec::{Reader, RowsHead, Value, ValueRef};

use super::{DbError, migrations::MigrateError};

/// An applied migration as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The version number.
    pub version: u32,
    /// The title.
    pub title: String,
    /// The checksum of the script that applied it, see [`Migration::checksum`].
    pub checksum: String,
    /// When it was applied (RFC 3339).
    pub applied_at: String,
}

/// Decodes rows of `version, title, checksum, applied_at`.
pub(super) fn read_applied(packed: &[u8]) -> Result<Vec<Applied>, MigrateError> {
    let head = RowsHead::read(packed)?;
    let mut reader = Reader::new(&packed[head.start..]);
    (0..head.rows)
        .map(|_| {
            let version = match reader.value()? {
                ValueRef::Integer(number) => u32::try_from(number).unwrap_or(u32::MAX),
                _ => u32::MAX,
            };
            let mut text = || match reader.value().map(ValueRef::to_owned) {
                Ok(Value::Text(text)) => Ok(text),
                Ok(other) => {
                    Err(MigrateError::Record(DbError::Sql(format!("{other:?} where a text belongs"))))
                }
                Err(error) => Err(error.into()),
            };
            Ok(Applied { version, title: text()?, checksum: text()?, applied_at: text()? })
        })
        .collect()
}
