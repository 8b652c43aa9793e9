//! Packed batches, whose statements are applied atomically, and their results. It runs no statements.

use super::{CodecError, Reader, ValueRef, put_bytes, put_value};

/// How many rows a statement of a batch must affect for the batch to continue.
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

/// The tag of a ticket, in the place of a statement's expectation.
const TICKET: u8 = 3;

/// Splits a packed batch into the batch without its tickets and the numbers of the tickets in order.
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

/// Writes a batch: statements that are applied atomically.
///
/// An empty batch allocates no memory, since every event without listeners creates one.
#[derive(Debug, Clone, Default)]
pub struct BatchWriter {
    out: Vec<u8>,
    count: u32,
}

impl BatchWriter {
    /// Reserves space for the count before the first statement.
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

    /// Appends a ticket. It represents statements that the host keeps, and only the host can redeem it.
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

    /// Returns the current length of the buffer in bytes.
    pub fn len_bytes(&self) -> usize {
        self.out.len()
    }

    /// Returns the number of statements.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Returns whether there are no statements.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the packed batch.
    pub fn finish(mut self) -> Vec<u8> {
        self.begin();
        self.out[..4].copy_from_slice(&self.count.to_le_bytes());
        self.out
    }
}

/// A statement of a packed batch. Its packed parameters follow in the reader.
#[derive(Debug, Clone, Copy)]
pub struct StatementHead<'a> {
    /// The statement.
    pub sql: &'a str,
    /// How many rows the statement must affect.
    pub expect: Expect,
}

impl<'a> Reader<'a> {
    /// Reads a statement of a batch. Its parameters follow; read them with [`Reader::values`].
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

    /// Appends the result of one statement: the number of affected rows and the packed rows it returned (may be
    /// empty).
    pub fn push(&mut self, affected: u64, rows: &[u8]) {
        self.out.extend_from_slice(&affected.to_le_bytes());
        put_bytes(&mut self.out, rows);
        self.count += 1;
    }

    /// Returns the packed result.
    pub fn finish(mut self) -> Vec<u8> {
        self.out[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_le_bytes());
        self.out
    }
}
