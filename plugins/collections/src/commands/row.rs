//! One record of a file in the form in which it will be stored, or its error. This module writes nothing.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use super::{import::field_name, source::Item, update::Key};
use crate::{
    catalog::Collection, collections::convert, filter::RecordColumn, json::Json, number,
    schema::normalise_date, validate,
};

/// A record ready to be written.
pub(super) struct Row {
    pub(super) line: u64,
    /// The id of a whole record.
    pub(super) id: Option<String>,
    pub(super) owner_id: Option<String>,
    /// The creation time and the time of the last change of a whole record.
    pub(super) times: Option<(String, String)>,
    /// The lookup key, in a form in which equal values are equal.
    pub(super) key: Option<String>,
    /// The data of a new record as it will be stored; with a key, the fields as given.
    pub(super) data: String,
    /// The fields that refer to records of the same collection, and their ids.
    pub(super) refers: Vec<(String, String)>,
    /// The group: records of one group are stored together or not at all.
    pub(super) group: usize,
    /// Whether it references itself through other records of its group.
    pub(super) in_circle: bool,
}

/// How records are read.
pub(super) struct Reading {
    pub(super) collection: Arc<Collection>,
    /// The fields that refer to records of the same collection.
    pub(super) own_references: Vec<String>,
    /// The fields' names by their names in the file.
    pub(super) names: HashMap<String, String>,
    /// Whether the values come from delimited text.
    pub(super) is_text: bool,
    /// Whether every record must be a whole one.
    pub(super) whole: bool,
}

/// Returns whether a name is that of a column of every record.
pub(super) fn is_own(name: &str) -> bool {
    RecordColumn::ALL.iter().any(|own| own.name() == name)
}

/// Returns whether a line is a whole record, as written by `export --whole`.
fn is_whole(record: &Json<'_>) -> bool {
    let id = record.get("id").and_then(Json::as_text).is_some_and(validate::is_record_id);
    id && record.get("collection_id").is_some()
        && record.get("data").is_some_and(|data| data.as_object().is_some())
}

/// Returns the data of a record. `flat` means that a whole record has its fields next to its own columns.
pub(super) fn data_of<'a, 'json>(record: &'a Json<'json>, flat: bool) -> Cow<'a, Json<'json>> {
    if let Some(members) = record.as_object().filter(|_| flat) {
        return Cow::Owned(Json::Object(members.iter().filter(|(name, _)| !is_own(name)).cloned().collect()));
    }
    match record.get("data") {
        Some(data) if is_whole(record) => Cow::Borrowed(data),
        _ => Cow::Borrowed(record),
    }
}

impl Reading {
    /// Converts an item to a record that can be stored, or returns its error.
    pub(super) fn row(&mut self, item: &Item, key: Option<&Key>) -> Result<Row, String> {
        let text = item.text.as_ref().map_err(Clone::clone)?;
        let record = Json::parse(text).map_err(|fault| format!("no JSON: {fault}"))?;
        if let Some(number) = number::inexact(text.as_bytes()) {
            return Err(number::inexact_words(&number));
        }
        let flat = self.is_text && self.whole;
        let keeps_own = flat || is_whole(&record);
        if self.whole && !keeps_own {
            return Err("is no whole record with id, collection_id and data, as `export --whole` writes it"
                .to_owned());
        }
        let data = data_of(&record, flat);
        let Some(members) = data.as_object() else {
            return Err(format!("must be an object, is {}", data.kind()));
        };
        let fitted = Json::Object(self.fitted(members));
        let own = if keeps_own { Own::of(&record)? } else { Own::default() };
        let (schema, unknown) = (&self.collection.schema, self.collection.options.unknown_fields);
        let data = match key {
            // It is validated later, together with the stored record.
            Some(_) => Ok(fitted.to_text()),
            None if keeps_own => validate::exact(schema, unknown, &fitted),
            None => validate::data(schema, unknown, &fitted),
        };
        let data = data.map_err(|faults| faults.to_string())?;
        let key = key.map(|key| key.of(&fitted, own.id.as_deref())).transpose()?;
        let refers = self
            .own_references
            .iter()
            .filter_map(|field| Some((field.clone(), fitted.get(field)?.as_text()?.to_owned())));
        let (refers, Own { id, owner_id, times }) = (refers.collect(), own);
        Ok(Row { line: item.line, id, owner_id, times, key, data, refers, group: 0, in_circle: false })
    }

    /// Converts the members to field names and to values of these fields.
    fn fitted<'a>(&mut self, members: &[(Cow<'a, str>, Json<'a>)]) -> Vec<(Cow<'a, str>, Json<'a>)> {
        let fit = |(name, value): &(Cow<'a, str>, Json<'a>)| {
            let name = field_name(&mut self.names, &self.collection.schema, name);
            let value = match self.collection.schema.field(&name) {
                Some(field) => convert(value, field.kind),
                None => value.clone(),
            };
            (Cow::Owned(name), value)
        };
        members.iter().map(fit).collect()
    }
}

/// The own columns of a whole record.
#[derive(Default)]
struct Own {
    id: Option<String>,
    owner_id: Option<String>,
    times: Option<(String, String)>,
}

impl Own {
    fn of(record: &Json<'_>) -> Result<Own, String> {
        let text = |name: &str| match record.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Text(text)) if text.contains('\0') => {
                Err(format!("{name}: must not hold the character NUL"))
            }
            Some(Json::Text(text)) => Ok(Some(text.to_string())),
            Some(other) => Err(format!("{name}: must be a string, is {}", other.kind())),
        };
        let id = text("id")?.ok_or("id: is required in a whole record")?;
        if !validate::is_record_id(&id) {
            return Err("id: must be a UUID in lower case".to_owned());
        }
        let time = |name: &str| {
            text(name)?
                .map(|time| moment(&time).ok_or_else(|| format!("{name}: must be an RFC 3339 date-time")))
                .transpose()
        };
        let times = match (time("created_at")?, time("updated_at")?) {
            (None, None) => None,
            (Some(created_at), updated_at) => {
                if created_at > crate::http::now() {
                    return Err("created_at: must not be in the future".to_owned());
                }
                let updated_at = updated_at.unwrap_or_else(|| created_at.clone());
                Some((created_at, updated_at))
            }
            (None, Some(_)) => return Err("created_at: is required beside updated_at".to_owned()),
        };
        Ok(Own { id: Some(id), owner_id: text("owner_id")?, times })
    }
}

/// Returns a date with a time in its normal form; `None` for a date alone.
fn moment(text: &str) -> Option<String> {
    normalise_date(text).filter(|moment| moment.contains('T'))
}
