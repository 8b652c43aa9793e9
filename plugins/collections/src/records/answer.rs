//! Records in responses: JSON assembled from stored text without parsing it. It decides nothing.

use crate::json::write_text;

/// The parts of a record in a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) collection_id: &'a str,
    pub(crate) id: &'a str,
    pub(crate) owner_id: Option<&'a str>,
    /// The data as JSON.
    pub(crate) data: &'a str,
    pub(crate) created_at: &'a str,
    pub(crate) updated_at: &'a str,
}

/// Approximate bytes of a record in a response, without its data.
pub(crate) const FRAME_BYTES: usize = 260;

impl Answer<'_> {
    /// Returns the maximum size of the record in bytes, if its owner's id has a usual size.
    pub(crate) fn len_max(&self) -> usize {
        FRAME_BYTES + self.owner_id.map_or(0, str::len) + self.data.len()
    }

    /// Appends the record as JSON.
    pub(crate) fn write(&self, out: &mut String) {
        self.write_open(out);
        out.push('}');
    }

    /// Appends the record as JSON without the closing brace.
    pub(crate) fn write_open(&self, out: &mut String) {
        out.push_str("{\"id\":");
        write_text(out, self.id);
        out.push_str(",\"collection_id\":\"");
        out.push_str(self.collection_id);
        out.push_str("\",\"owner_id\":");
        match self.owner_id {
            Some(owner) => write_text(out, owner),
            None => out.push_str("null"),
        }
        out.push_str(",\"data\":");
        out.push_str(self.data);
        out.push_str(",\"created_at\":\"");
        out.push_str(self.created_at);
        out.push_str("\",\"updated_at\":\"");
        out.push_str(self.updated_at);
        out.push('"');
    }

    /// Returns the record as JSON.
    pub(crate) fn to_json(self) -> String {
        let mut out = String::with_capacity(self.len_max());
        self.write(&mut out);
        out
    }
}
