//! The packed forms in which values, rows and batches are passed across the ABI: one buffer each, little-endian.
//! Safe code only; reading never allocates per value.
//!
//! ```text
//! value  := 0 | 1 i64 | 2 f64 | 3 u32 utf8 | 4 u32 bytes | 5           (null, integer, real, text, blob, now)
//! values := u32 count, value*
//! rows   := u32 columns, (u32 utf8)*, u32 rows, value* (row by row)
//! batch  := u32 statements, (u8 expect, u64 expected, u32 utf8 sql, values)*
//! result := u32 utf8 now, u32 statements, (u64 affected, u32 rows)*
//! ```

mod batch;
pub mod http;
mod rows;

use thiserror::Error;

pub use batch::{BatchResultWriter, BatchWriter, Expect, StatementHead, split_tickets};
pub use rows::{RowsHead, RowsWriter};

/// The error for a packed buffer that does not match its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a packed buffer is malformed at byte {offset}: {problem}")]
pub struct CodecError {
    /// The offset at which reading stopped, in bytes from the start of the buffer.
    pub offset: usize,
    /// What was wrong at that offset.
    pub problem: &'static str,
}

/// A borrowed SQL value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// SQL `NULL`.
    Null,
    /// A 64-bit integer; booleans are passed as 0 and 1.
    Integer(i64),
    /// A 64-bit float.
    Real(f64),
    /// UTF-8 text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
    /// Only as a parameter: the time at which the database applies the statement, as RFC 3339 UTC text with
    /// microseconds. It never decreases in the order of commits.
    Now,
}

/// An owned SQL value.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// SQL `NULL`.
    #[default]
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// A 64-bit float.
    Real(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// See [`ValueRef::Now`].
    Now,
}

impl Value {
    /// Borrows the value.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Real(number) => ValueRef::Real(*number),
            Value::Text(text) => ValueRef::Text(text),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
            Value::Now => ValueRef::Now,
        }
    }
}

impl ValueRef<'_> {
    /// Copies the value into an owned one.
    pub fn to_owned(self) -> Value {
        match self {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Integer(number),
            ValueRef::Real(number) => Value::Real(number),
            ValueRef::Text(text) => Value::Text(text.to_owned()),
            ValueRef::Blob(bytes) => Value::Blob(bytes.to_owned()),
            ValueRef::Now => Value::Now,
        }
    }
}

macro_rules! value_from {
    ($($source:ty => |$name:ident| $value:expr;)*) => {$(
        impl From<$source> for Value {
            fn from($name: $source) -> Value {
                $value
            }
        }
    )*};
}
value_from! {
    i64 => |number| Value::Integer(number);
    i32 => |number| Value::Integer(number.into());
    u32 => |number| Value::Integer(number.into());
    bool => |flag| Value::Integer(flag.into());
    f64 => |number| Value::Real(number);
    String => |text| Value::Text(text);
    &str => |text| Value::Text(text.to_owned());
    &String => |text| Value::Text(text.clone());
    Vec<u8> => |bytes| Value::Blob(bytes);
    &[u8] => |bytes| Value::Blob(bytes.to_owned());
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("limits keep every packed item under 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Appends one value in its packed form.
pub fn put_value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => out.push(0),
        ValueRef::Integer(number) => {
            out.push(1);
            out.extend_from_slice(&number.to_le_bytes());
        }
        ValueRef::Real(number) => {
            out.push(2);
            out.extend_from_slice(&number.to_le_bytes());
        }
        ValueRef::Text(text) => {
            out.push(3);
            put_bytes(out, text.as_bytes());
        }
        ValueRef::Blob(bytes) => {
            out.push(4);
            put_bytes(out, bytes);
        }
        ValueRef::Now => out.push(5),
    }
}

/// Packs a statement's parameters.
pub fn pack_values<'a>(values: impl IntoIterator<Item = ValueRef<'a>>) -> Vec<u8> {
    let mut out = vec![0; 4];
    let mut count = 0u32;
    for value in values {
        put_value(&mut out, value);
        count += 1;
    }
    out[..4].copy_from_slice(&count.to_le_bytes());
    out
}

/// A reader of a packed buffer, from its start to its end.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Creates a reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, offset: 0 }
    }

    /// Returns the reader's offset, in bytes from the start.
    pub fn offset(&self) -> usize {
        self.offset
    }

    fn fault<T>(&self, problem: &'static str) -> Result<T, CodecError> {
        Err(CodecError { offset: self.offset, problem })
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        match self.bytes[self.offset..].get(..len) {
            Some(part) => {
                self.offset += len;
                Ok(part)
            }
            None => self.fault("it ends too early"),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Reads one byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, CodecError> {
        Ok(self.array::<1>()?[0])
    }

    /// Reads a 32-bit count or length.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, CodecError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Reads a 64-bit count.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, CodecError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads bytes with a length prefix.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    /// Reads UTF-8 text with a length prefix.
    #[inline]
    pub fn text(&mut self) -> Result<&'a str, CodecError> {
        let bytes = self.bytes()?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(_) => self.fault("text is not UTF-8"),
        }
    }

    /// Reads one value.
    #[inline]
    pub fn value(&mut self) -> Result<ValueRef<'a>, CodecError> {
        Ok(match self.u8()? {
            0 => ValueRef::Null,
            1 => ValueRef::Integer(i64::from_le_bytes(self.array()?)),
            2 => ValueRef::Real(f64::from_le_bytes(self.array()?)),
            3 => ValueRef::Text(self.text()?),
            4 => ValueRef::Blob(self.bytes()?),
            5 => ValueRef::Now,
            _ => return self.fault("a value has an unknown tag"),
        })
    }

    /// Skips one value without reading its content.
    #[inline]
    pub fn skip_value(&mut self) -> Result<(), CodecError> {
        match self.u8()? {
            0 | 5 => Ok(()),
            1 | 2 => self.take(8).map(|_| ()),
            3 | 4 => self.bytes().map(|_| ()),
            _ => self.fault("a value has an unknown tag"),
        }
    }

    /// Reads packed parameters and passes each with its position to `each`.
    pub fn values<E: From<CodecError>>(
        &mut self,
        mut each: impl FnMut(usize, ValueRef<'a>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let count = self.u32()? as usize;
        for position in 0..count {
            each(position, self.value()?)?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
