//! Bytes that one request may still take: counted before they are held. What is passed is refused with 413.

use tinybase_plugin_api::Result;

use crate::{error, plugin::Collections};

/// What is left of the largest answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    bytes_max: usize,
    left: usize,
}

impl Budget {
    /// The whole of it.
    pub(crate) fn of(plugin: &Collections) -> Budget {
        let bytes_max = plugin.answer_bytes_max();
        Budget { bytes_max, left: bytes_max }
    }

    /// What may be held for an answer of that size: what is stored, and what was there before.
    pub(crate) fn of_memory(plugin: &Collections) -> Budget {
        const ANSWERS: usize = 3;
        let bytes_max = plugin.answer_bytes_max();
        Budget { bytes_max, left: bytes_max.saturating_mul(ANSWERS) }
    }

    /// Takes bytes, where they are left.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<()> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| error::answer_too_large(self.bytes_max))?;
        Ok(())
    }

    /// How much may be taken, in bytes.
    pub(crate) fn left(&self) -> usize {
        self.left
    }
}
