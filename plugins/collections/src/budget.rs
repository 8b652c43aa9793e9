//! Memory budgets of requests, in bytes, counted before the memory is used. A request over its own limit is refused
//! with
//! 413. All requests share one more limit: a request that finds no room for too long is refused with 503.

use tinybase_plugin_api::{Result, host::Reserved};

use crate::{error, limits, plugin::Collections};

/// The rest of the budget for the largest response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    bytes_max: usize,
    left: usize,
}

impl Budget {
    /// Returns the whole budget for one response.
    pub(crate) fn of(plugin: &Collections) -> Budget {
        let bytes_max = plugin.answer_bytes_max();
        Budget { bytes_max, left: bytes_max }
    }

    /// Returns the memory budget for one response: for the stored data and for the previous data.
    pub(crate) fn of_memory(plugin: &Collections) -> Budget {
        let bytes_max = plugin.answer_bytes_max();
        Budget { bytes_max, left: bytes_max.saturating_mul(limits::MEMORY_ANSWERS_MAX) }
    }

    /// Takes bytes from the budget.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<()> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| error::answer_too_large(self.bytes_max))?;
        Ok(())
    }

    /// Returns how many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.left
    }
}

/// The memory that a request uses, and the room reserved for it. Released on drop.
pub(crate) struct Room<'a> {
    plugin: &'a Collections,
    held: usize,
    reserved: usize,
    parts: Vec<Reserved>,
}

impl<'a> Room<'a> {
    /// Creates an empty reservation.
    pub(crate) fn of(plugin: &'a Collections) -> Room<'a> {
        Room { plugin, held: 0, reserved: limits::UNRESERVED_BYTES_MAX, parts: Vec::new() }
    }

    /// Reserves room for this many bytes before they are used.
    pub(crate) async fn grow(&mut self, bytes: usize) -> Result<()> {
        self.held = self.held.saturating_add(bytes);
        if self.held <= self.reserved {
            return Ok(());
        }
        let more = (self.held - self.reserved).max(limits::RESERVED_PART_BYTES);
        self.parts.push(self.plugin.reserve(more).await?);
        self.reserved = self.reserved.saturating_add(more);
        Ok(())
    }

    /// Reserves room for a request's body once it is parsed.
    ///
    /// # Errors
    /// 413 `body_too_large`, if this would exceed the limit of one request.
    pub(crate) async fn for_body(plugin: &'a Collections, body: &[u8]) -> Result<Room<'a>> {
        let mut room = Room::of(plugin);
        if body.len() <= limits::BODY_UNMEASURED_BYTES_MAX {
            return Ok(room);
        }
        let bytes = parsed_bytes(body);
        let bytes_max = plugin.answer_bytes_max().saturating_mul(limits::MEMORY_ANSWERS_MAX);
        if bytes > bytes_max {
            return Err(error::body_too_large(bytes_max));
        }
        room.grow(bytes).await?;
        Ok(room)
    }
}

/// Estimates how much memory JSON takes once it is parsed. Every value takes about the same, however short it is.
pub(crate) fn parsed_bytes(json: &[u8]) -> usize {
    const VALUE_BYTES: usize = 48;
    let values = json.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    json.len() + VALUE_BYTES * values
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;
    use crate::json::Json;

    /// Returns the heap memory of a value, without the value itself.
    fn heap_bytes(value: &Json<'_>) -> usize {
        match value {
            Json::Array(entries) => {
                entries.capacity() * size_of::<Json<'_>>() + entries.iter().map(heap_bytes).sum::<usize>()
            }
            Json::Object(members) => {
                let member = size_of::<(std::borrow::Cow<'_, str>, Json<'_>)>();
                members.capacity() * member
                    + members.iter().map(|(_, value)| heap_bytes(value)).sum::<usize>()
            }
            _ => 0,
        }
    }

    #[test]
    fn parsed_json_takes_about_what_was_reckoned() {
        let many = |entry: &str| format!("[{}]", vec![entry; 70_000].join(","));
        for text in [
            many("0"),
            many("[]"),
            many("[[0]]"),
            many("[1,2]"),
            many(r#"{"a":0}"#),
            many(r#"{"a":0,"b":[]}"#),
        ] {
            let taken = heap_bytes(&Json::parse(&text).unwrap());
            let reckoned = parsed_bytes(text.as_bytes());
            assert!(taken <= reckoned * 2, "{}…: {taken} of {reckoned}", &text[..20]);
        }
    }
}
