//! Packed rows, written by the host and read by a plugin. It knows nothing of the statement that returned them.

use super::{CodecError, Reader, ValueRef, put_bytes, put_value};

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

    /// Returns the current length of the buffer in bytes.
    pub fn len_bytes(&self) -> usize {
        self.out.len()
    }

    /// Returns the number of finished rows.
    pub fn rows(&self) -> u32 {
        self.count
    }

    /// Returns the packed rows.
    pub fn finish(mut self) -> Vec<u8> {
        self.out[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_le_bytes());
        self.out
    }
}

/// The parsed head of packed rows: the columns, the number of rows, and the offset of the first row.
#[derive(Debug, Clone)]
pub struct RowsHead {
    /// The columns' names in order.
    pub columns: Vec<String>,
    /// The number of rows.
    pub rows: usize,
    /// The offset of the first row, in bytes.
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
