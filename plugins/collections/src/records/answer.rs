//! Records as they are answered: JSON put together from stored text, unparsed. It decides nothing.

use crate::json::write_text;

/// What of a record is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) collection_id: &'a str,
    pub(crate) id: &'a str,
    pub(crate) owner_id: Option<&'a str>,
    /// JSON.
    pub(crate) data: &'a str,
    pub(crate) created_at: &'a str,
    pub(crate) updated_at: &'a str,
    /// What the references lead to, as JSON.
    pub(crate) expand: Option<&'a str>,
}

/// Bytes of a record's answer beyond its data, about.
pub(crate) const FRAME_BYTES: usize = 260;

impl Answer<'_> {
    /// Appends the record as JSON.
    pub(crate) fn write(&self, out: &mut String) {
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
        if let Some(expand) = self.expand {
            out.push_str(",\"expand\":");
            out.push_str(expand);
        }
        out.push('}');
    }

    /// The record as JSON.
    pub(crate) fn to_json(self) -> String {
        let mut out = String::with_capacity(self.data.len() + FRAME_BYTES);
        self.write(&mut out);
        out
    }
}
