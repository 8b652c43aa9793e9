//! One value against its field: type, bounds, lengths, pattern, depth. A valid value is written in the form it is
//! stored in.

use std::cmp::Ordering;

use crate::{
    fault::{Faults, Path},
    json::{Json, write_text},
    limits,
    schema::{Bound, Field, Fit, Item, Kind, normalise_date},
};

/// Checks `value` against `field` and appends it to `out`. The output is only valid if no fault was added.
pub fn field_value(field: &Field, value: &Json<'_>, path: &Path<'_>, out: &mut String, faults: &mut Faults) {
    match (field.kind, value) {
        (_, Json::Null) if field.required => faults.push(path.to_string(), "must not be null"),
        (_, Json::Null) => out.push_str("null"),
        (Kind::Text, Json::Text(text)) => {
            check_text(field, text, path, faults);
            write_text(out, text);
        }
        (Kind::Integer, Json::Int(number)) => {
            check_number(field, value, path, faults);
            out.push_str(itoa::Buffer::new().format(*number));
        }
        (Kind::Integer, Json::Uint(_) | Json::Float(_)) => {
            faults.push(path.to_string(), "must be an integer of at most 64 bits");
        }
        (Kind::Number, Json::Int(_) | Json::Uint(_) | Json::Float(_)) => {
            check_number(field, value, path, faults);
            value.write(out);
        }
        (Kind::Boolean, Json::Bool(_)) => value.write(out),
        (Kind::Date, Json::Text(text)) => match normalise_date(text) {
            Some(date) => {
                check_date(field, &date, path, faults);
                write_text(out, &date);
            }
            None => faults.push(path.to_string(), "must be an RFC 3339 date or date-time"),
        },
        (Kind::Reference, Json::Text(text)) if is_record_id(text) => write_text(out, text),
        (Kind::Reference, Json::Text(_)) => {
            faults.push(path.to_string(), "must be the id of a record, a UUID in lower case");
        }
        (Kind::Array(item), Json::Array(entries)) => {
            check_length(field, entries.len(), "entries", path, faults);
            for (index, entry) in entries.iter().enumerate() {
                if faults.is_full() {
                    return;
                }
                check_item(item, entry, &path.index(index), faults);
            }
            value.write(out);
        }
        (Kind::Object, Json::Object(_)) => {
            check_free(value, path, 2, faults);
            value.write(out);
        }
        (kind, other) => {
            let message = format!("must be {}, is {}", expected(kind), other.kind());
            faults.push(path.to_string(), message);
        }
    }
}

/// Returns whether a text has the format of a record's id: a lowercase UUID.
pub(crate) fn is_record_id(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "a string",
        Kind::Integer => "an integer",
        Kind::Number => "a number",
        Kind::Boolean => "true or false",
        Kind::Array(_) => "an array",
        Kind::Object => "an object",
        Kind::Date => "a date as a string",
        Kind::Reference => "the id of a record as a string",
    }
}

fn check_nul(text: &str, path: &Path<'_>, faults: &mut Faults) {
    if text.contains('\0') {
        faults.push(path.to_string(), "must not hold the character NUL");
    }
}

fn check_text(field: &Field, text: &str, path: &Path<'_>, faults: &mut Faults) {
    check_nul(text, path, faults);
    if field.min_length.is_some() || field.max_length.is_some() {
        let length = text.chars().count();
        check_length(field, length, "characters", path, faults);
        // A text that is too long is refused without looking at its content.
        if field.max_length.is_some_and(|max| length > max) {
            return;
        }
    }
    let Some(pattern) = &field.pattern else { return };
    match pattern.check(text) {
        Fit::Matches => {}
        Fit::Differs => {
            faults.push(path.to_string(), format!("must match the pattern {}", pattern.as_str()));
        }
        Fit::TooLong(bytes_max) => {
            let message = format!(
                "must have at most {bytes_max} bytes to be matched against the pattern {}",
                pattern.as_str()
            );
            faults.push(path.to_string(), message);
        }
    }
}

fn check_length(field: &Field, length: usize, what: &str, path: &Path<'_>, faults: &mut Faults) {
    if let Some(min) = field.min_length
        && length < min
    {
        faults.push(path.to_string(), format!("must have at least {min} {what}, has {length}"));
    }
    if let Some(max) = field.max_length
        && length > max
    {
        faults.push(path.to_string(), format!("must have at most {max} {what}, has {length}"));
    }
}

fn check_number(field: &Field, value: &Json<'_>, path: &Path<'_>, faults: &mut Faults) {
    if let Some(min) = &field.min
        && compare(value, min) == Ordering::Less
    {
        faults.push(path.to_string(), format!("must be at least {min}"));
    }
    if let Some(max) = &field.max
        && compare(value, max) == Ordering::Greater
    {
        faults.push(path.to_string(), format!("must be at most {max}"));
    }
}

fn check_date(field: &Field, date: &str, path: &Path<'_>, faults: &mut Faults) {
    if let Some(Bound::Date(min)) = &field.min
        && date < min.as_str()
    {
        faults.push(path.to_string(), format!("must not be before {min}"));
    }
    if let Some(Bound::Date(max)) = &field.max
        && date > max.as_str()
    {
        faults.push(path.to_string(), format!("must not be after {max}"));
    }
}

fn compare(value: &Json<'_>, bound: &Bound) -> Ordering {
    match (value, bound) {
        (Json::Int(number), Bound::Int(bound)) => number.cmp(bound),
        (Json::Int(number), Bound::Float(bound)) => (*number as f64).total_cmp(bound),
        (Json::Uint(_), Bound::Int(_)) => Ordering::Greater,
        (Json::Uint(number), Bound::Float(bound)) => (*number as f64).total_cmp(bound),
        (Json::Float(number), Bound::Int(bound)) => number.total_cmp(&(*bound as f64)),
        (Json::Float(number), Bound::Float(bound)) => number.total_cmp(bound),
        _ => Ordering::Equal,
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bound::Int(number) => number.fmt(formatter),
            Bound::Float(number) => number.fmt(formatter),
            Bound::Date(date) => date.fmt(formatter),
        }
    }
}

fn check_item(item: Option<Item>, entry: &Json<'_>, path: &Path<'_>, faults: &mut Faults) {
    let expected = match (item, entry) {
        (None, _) => return check_free(entry, path, 2, faults),
        (Some(Item::Text), Json::Text(text)) => return check_nul(text, path, faults),
        (Some(Item::Integer), Json::Int(_)) => return,
        (Some(Item::Number), Json::Int(_) | Json::Uint(_) | Json::Float(_)) => return,
        (Some(Item::Boolean), Json::Bool(_)) => return,
        (Some(Item::Text), _) => "a string",
        (Some(Item::Integer), _) => "an integer of at most 64 bits",
        (Some(Item::Number), _) => "a number",
        (Some(Item::Boolean), _) => "true or false",
    };
    faults.push(path.to_string(), format!("must be {expected}, is {}", entry.kind()));
}

/// Checks what no type covers: depth, duplicate names and NUL.
fn check_free(value: &Json<'_>, path: &Path<'_>, depth: usize, faults: &mut Faults) {
    if faults.is_full() {
        return;
    }
    if depth > limits::DATA_DEPTH_MAX {
        faults.push(path.to_string(), format!("is nested deeper than {} levels", limits::DATA_DEPTH_MAX));
        return;
    }
    match value {
        Json::Text(text) => check_nul(text, path, faults),
        Json::Array(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                check_free(entry, &path.index(index), depth + 1, faults);
            }
        }
        Json::Object(members) => {
            check_twins(members, path, faults);
            for (name, member) in members {
                check_nul(name, path, faults);
                check_free(member, &path.name(name), depth + 1, faults);
            }
        }
        _ => {}
    }
}

fn check_twins(members: &[(std::borrow::Cow<'_, str>, Json<'_>)], path: &Path<'_>, faults: &mut Faults) {
    const PAIRWISE_MAX: usize = 16;
    if members.len() <= PAIRWISE_MAX {
        for (at, (name, _)) in members.iter().enumerate() {
            if members[..at].iter().any(|(other, _)| other == name) {
                faults.push(path.name(name).to_string(), "is given twice");
            }
        }
        return;
    }
    let mut names = std::collections::HashSet::with_capacity(members.len());
    for (name, _) in members {
        if !names.insert(&**name) {
            faults.push(path.name(name).to_string(), "is given twice");
        }
    }
}
