//! The packed forms in which values, rows and batches cross the boundary: one buffer each, little-endian.
//! Safe code only; it never allocates per value when reading.
//!
//! ```text
//! value  := 0 | 1 i64 | 2 f64 | 3 u32 utf8 | 4 u32 bytes | 5           (null, integer, real, text, blob, now)
//! values := u32 count, value*
//! rows   := u32 columns, (u32 utf8)*, u32 rows, value* (row by row)
//! batch  := u32 statements, (u8 expect, u64 expected, u32 utf8 sql, values)*
//! result := u32 utf8 now, u32 statements, (u64 affected, u32 rows)*
//! ```

use thiserror::Error;

/// A packed buffer that does not hold what its form says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a packed buffer is malformed at byte {offset}: {problem}")]
pub struct CodecError {
    /// Where reading stopped, in bytes from the start of the buffer.
    pub offset: usize,
    /// What was wrong there.
    pub problem: &'static str,
}

/// One SQL value, borrowed from wherever it is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// SQL `NULL`.
    Null,
    /// A 64-bit integer; booleans cross as 0 and 1.
    Integer(i64),
    /// A 64-bit float.
    Real(f64),
    /// UTF-8 text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
    /// As a parameter alone: the time at which the database applies the statement, as RFC 3339 UTC text with
    /// microseconds. It never decreases in the order of commits.
    Now,
}

/// One SQL value that owns its content.
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
    /// The same value, borrowed.
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
    /// The same value, owned.
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

/// Reads a packed buffer from its start to its end.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, offset: 0 }
    }

    /// Where the reader stands, in bytes from the start.
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

    /// Reads bytes behind their length.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    /// Reads UTF-8 text behind its length.
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

    /// Passes over one value without looking at its content.
    #[inline]
    pub fn skip_value(&mut self) -> Result<(), CodecError> {
        match self.u8()? {
            0 | 5 => Ok(()),
            1 | 2 => self.take(8).map(|_| ()),
            3 | 4 => self.bytes().map(|_| ()),
            _ => self.fault("a value has an unknown tag"),
        }
    }

    /// Reads packed parameters, handing each with its position to `each`.
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

/// Writes packed rows.
#[derive(Debug)]
pub struct RowsWriter {
    out: Vec<u8>,
    count_at: usize,
    count: u32,
}

impl RowsWriter {
    /// Starts a set of rows with these columns.
    pub fn new<'a>(columns: impl ExactSizeIterator<Item = &'a str>) -> RowsWriter {
        let mut out = Vec::with_capacity(256);
        let len = u32::try_from(columns.len()).expect("a statement has fewer than 2^32 columns");
        out.extend_from_slice(&len.to_le_bytes());
        for column in columns {
            put_bytes(&mut out, column.as_bytes());
        }
        let count_at = out.len();
        out.extend_from_slice(&[0; 4]);
        RowsWriter { out, count_at, count: 0 }
    }

    /// Appends the next value of the current row.
    #[inline]
    pub fn push(&mut self, value: ValueRef<'_>) {
        put_value(&mut self.out, value);
    }

    /// Ends the current row, after as many values as there are columns.
    pub fn end_row(&mut self) {
        self.count += 1;
    }

    /// How long the buffer is now, in bytes.
    pub fn len_bytes(&self) -> usize {
        self.out.len()
    }

    /// How many rows have ended.
    pub fn rows(&self) -> u32 {
        self.count
    }

    /// The packed rows.
    pub fn finish(mut self) -> Vec<u8> {
        self.out[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_le_bytes());
        self.out
    }
}

/// The head of packed rows, read: what the columns are, how many rows there are and where they begin.
#[derive(Debug, Clone)]
pub struct RowsHead {
    /// The columns' names in order.
    pub columns: Vec<String>,
    /// How many rows there are.
    pub rows: usize,
    /// Where the first row begins, in bytes.
    pub start: usize,
}

impl RowsHead {
    /// Reads the head of packed rows.
    pub fn read(bytes: &[u8]) -> Result<RowsHead, CodecError> {
        let mut reader = Reader::new(bytes);
        let columns = (0..reader.u32()?).map(|_| Ok(reader.text()?.to_owned())).collect::<Result<_, _>>()?;
        let rows = reader.u32()? as usize;
        Ok(RowsHead { columns, rows, start: reader.offset() })
    }
}

/// How many rows a statement of a batch must affect for the batch to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expect {
    /// Any number.
    #[default]
    Any,
    /// This many.
    Exactly(u64),
    /// This many or more.
    AtLeast(u64),
}

/// The tag of a ticket where a statement's expectation stands.
const TICKET: u8 = 3;

/// Takes the tickets out of a packed batch: the batch without them, and their numbers in order.
pub fn split_tickets(packed: &[u8]) -> Result<(Vec<u8>, Vec<u64>), CodecError> {
    let mut reader = Reader::new(packed);
    let (mut out, mut kept, mut tickets) = (vec![0; 4], 0u32, Vec::new());
    for _ in 0..reader.u32()? {
        let start = reader.offset();
        let (tag, number) = (reader.u8()?, reader.u64()?);
        reader.bytes()?;
        for _ in 0..reader.u32()? {
            reader.skip_value()?;
        }
        if tag == TICKET {
            tickets.push(number);
        } else {
            out.extend_from_slice(&packed[start..reader.offset()]);
            kept += 1;
        }
    }
    out[..4].copy_from_slice(&kept.to_le_bytes());
    Ok((out, tickets))
}

/// Writes a batch: statements that are applied together or not at all.
///
/// One without a statement holds no memory: every event that nobody hears makes one.
#[derive(Debug, Clone, Default)]
pub struct BatchWriter {
    out: Vec<u8>,
    count: u32,
}

impl BatchWriter {
    /// Makes room for the count, once there is something to count.
    fn begin(&mut self) {
        if self.out.is_empty() {
            self.out.extend_from_slice(&[0; 4]);
        }
    }

    /// Appends a statement with its parameters.
    pub fn push<'a>(&mut self, sql: &str, params: impl IntoIterator<Item = ValueRef<'a>>, expect: Expect) {
        let (tag, expected) = match expect {
            Expect::Any => (0, 0),
            Expect::Exactly(rows) => (1, rows),
            Expect::AtLeast(rows) => (2, rows),
        };
        self.begin();
        self.out.push(tag);
        self.out.extend_from_slice(&expected.to_le_bytes());
        put_bytes(&mut self.out, sql.as_bytes());
        let count_at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        let mut params_count = 0u32;
        for param in params {
            put_value(&mut self.out, param);
            params_count += 1;
        }
        self.out[count_at..count_at + 4].copy_from_slice(&params_count.to_le_bytes());
        self.count += 1;
    }

    /// Appends a ticket: it stands for statements that the host keeps, and only the host knows how to redeem it.
    pub fn push_ticket(&mut self, ticket: u64) {
        self.begin();
        self.out.push(TICKET);
        self.out.extend_from_slice(&ticket.to_le_bytes());
        put_bytes(&mut self.out, &[]);
        self.out.extend_from_slice(&[0; 4]);
        self.count += 1;
    }

    /// Appends every statement of another packed batch.
    pub fn append(&mut self, packed: &[u8]) -> Result<(), CodecError> {
        let statements = Reader::new(packed).u32()?;
        self.begin();
        self.out.extend_from_slice(&packed[4..]);
        self.count += statements;
        Ok(())
    }

    /// How many statements there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no statement yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The packed batch.
    pub fn finish(mut self) -> Vec<u8> {
        self.begin();
        self.out[..4].copy_from_slice(&self.count.to_le_bytes());
        self.out
    }
}

/// One statement of a packed batch, with its parameters still packed behind it in the reader.
#[derive(Debug, Clone, Copy)]
pub struct StatementHead<'a> {
    /// The statement.
    pub sql: &'a str,
    /// How many rows it must affect.
    pub expect: Expect,
}

impl<'a> Reader<'a> {
    /// Reads a statement of a batch; its parameters follow and are read with [`Reader::values`].
    pub fn statement(&mut self) -> Result<StatementHead<'a>, CodecError> {
        let tag = self.u8()?;
        let expected = self.u64()?;
        let expect = match tag {
            0 => Expect::Any,
            1 => Expect::Exactly(expected),
            2 => Expect::AtLeast(expected),
            _ => return self.fault("a statement has an unknown expectation"),
        };
        Ok(StatementHead { sql: self.text()?, expect })
    }
}

/// Writes the result of a batch.
#[derive(Debug)]
pub struct BatchResultWriter {
    out: Vec<u8>,
    count_at: usize,
    count: u32,
}

impl BatchResultWriter {
    /// Starts the result of a batch that was applied at `now` (RFC 3339).
    pub fn new(now: &str) -> BatchResultWriter {
        let mut out = Vec::with_capacity(64);
        put_bytes(&mut out, now.as_bytes());
        let count_at = out.len();
        out.extend_from_slice(&[0; 4]);
        BatchResultWriter { out, count_at, count: 0 }
    }

    /// Appends what one statement did: how many rows it affected and the packed rows it returned (may be empty).
    pub fn push(&mut self, affected: u64, rows: &[u8]) {
        self.out.extend_from_slice(&affected.to_le_bytes());
        put_bytes(&mut self.out, rows);
        self.count += 1;
    }

    /// The packed result.
    pub fn finish(mut self) -> Vec<u8> {
        self.out[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_le_bytes());
        self.out
    }
}

#[cfg(test)]
mod tests;
