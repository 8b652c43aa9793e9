//! Conditions with SQLite's semantics: comparisons with null are null, numbers sort before text, true is 1, and an
//! array or object is its text.

use super::{
    super::Seen,
    place::{Path, seen_side, seen_value},
};
use crate::{
    filter::{Compare, Place, Side, SqlWriter},
    sql_value::SqlValue,
};

const UNKNOWN: &str = "(NULL::boolean)";

pub(in super::super) fn constant(holds: bool) -> &'static str {
    if holds { "(TRUE)" } else { "(FALSE)" }
}

pub(in super::super) fn compare(
    out: &mut SqlWriter,
    left: &Side<'_>,
    compare: Compare,
    right: &Side<'_>,
    _mixed: bool,
) {
    let (left, right) = (seen_side(out, left), seen_side(out, right));
    let condition = compared(&left, compare, &right);
    out.push(&condition);
}

/// Returns the comparison of two values, in parentheses.
pub(super) fn compared(left: &Seen, compare: Compare, right: &Seen) -> String {
    let symbol = compare.symbol();
    match (&left.number, &left.text) {
        (None, None) => UNKNOWN.to_owned(),
        (Some(number), None) => with_number(number, compare, right),
        (None, Some(text)) => with_text(text, compare, right),
        (Some(number), Some(text)) => match (&right.number, &right.text) {
            (None, None) => UNKNOWN.to_owned(),
            // The other side has one type: for values of the other type the result is known.
            (Some(other), None) => format!(
                "(CASE WHEN {text} IS NULL THEN {number} {symbol} {other} ELSE {} END)",
                known(compare, Compare::Greater, &[other])
            ),
            (None, Some(other)) => format!(
                "(CASE WHEN {number} IS NULL THEN {text} {symbol} {other} ELSE {} END)",
                known(compare, Compare::Less, &[other])
            ),
            (Some(_), Some(_)) => format!(
                "(CASE WHEN {text} IS NULL THEN {} ELSE {} END)",
                with_number(number, compare, right),
                with_text(text, compare, right)
            ),
        },
    }
}

/// Compares a number, which may be null, with a value.
fn with_number(number: &str, compare: Compare, right: &Seen) -> String {
    let symbol = compare.symbol();
    match (&right.number, &right.text) {
        (None, None) => UNKNOWN.to_owned(),
        (Some(other), None) => format!("({number} {symbol} {other})"),
        (None, Some(other)) => format!("({})", known(compare, Compare::Less, &[number, other])),
        (Some(other), Some(text)) => format!(
            "(CASE WHEN {text} IS NULL THEN {number} {symbol} {other} ELSE {} END)",
            known(compare, Compare::Less, &[number])
        ),
    }
}

/// Compares a text, which may be null, with a value.
fn with_text(text: &str, compare: Compare, right: &Seen) -> String {
    let symbol = compare.symbol();
    match (&right.number, &right.text) {
        (None, None) => UNKNOWN.to_owned(),
        (None, Some(other)) => format!("({text} {symbol} {other})"),
        (Some(other), None) => format!("({})", known(compare, Compare::Greater, &[text, other])),
        (Some(number), Some(other)) => format!(
            "(CASE WHEN {number} IS NULL THEN {text} {symbol} {other} ELSE {} END)",
            known(compare, Compare::Greater, &[text])
        ),
    }
}

/// Returns the constant result if the left side's type comes before (`Less`) or after (`Greater`) the right side's, as
/// long as none of these is null.
fn known(compare: Compare, order: Compare, not_null: &[&str]) -> String {
    let holds = match compare {
        Compare::Equal => false,
        Compare::NotEqual => true,
        Compare::Less | Compare::LessOrEqual => order == Compare::Less,
        Compare::Greater | Compare::GreaterOrEqual => order == Compare::Greater,
    };
    let answer = if holds { "TRUE" } else { "FALSE" };
    let parts: Vec<String> = not_null.iter().map(|part| format!("{part} IS NOT NULL")).collect();
    format!("CASE WHEN {} THEN {answer} END", parts.join(" AND "))
}

pub(in super::super) fn is_in(
    out: &mut SqlWriter,
    tested: &Side<'_>,
    entries: &[Side<'_>],
    _of_any_type: bool,
) {
    let tested = seen_side(out, tested);
    let (mut numbers, mut texts, mut has_null) = (Vec::new(), Vec::new(), false);
    for entry in entries {
        match seen_side(out, entry) {
            Seen { number: None, text: None } => has_null = true,
            Seen { number, text } => {
                numbers.extend(number);
                texts.extend(text);
            }
        }
    }
    let among = |value: &str, list: &[String]| match list {
        [] => "FALSE".to_owned(),
        list => format!("{value} IN ({})", list.join(",")),
    };
    let condition = match (&tested.number, &tested.text) {
        (None, None) => UNKNOWN.to_owned(),
        (Some(number), None) if texts.is_empty() && !has_null => format!("({})", among(number, &numbers)),
        (None, Some(text)) if numbers.is_empty() && !has_null => format!("({})", among(text, &texts)),
        (number, text) => {
            let mut cases = String::from("(CASE");
            for (value, list) in [(number, &numbers), (text, &texts)] {
                if let Some(value) = value {
                    let null = if has_null { " OR NULL::boolean" } else { "" };
                    cases.push_str(&format!(" WHEN {value} IS NOT NULL THEN {}{null}", among(value, list)));
                }
            }
            cases + " END)"
        }
    };
    out.push(&condition);
}

pub(in super::super) fn like(out: &mut SqlWriter, tested: &Side<'_>, pattern: &str) {
    let Some(text) = seen_side(out, tested).text else {
        out.push(UNKNOWN);
        return;
    };
    // In this collation `lower` only changes ASCII letters, like SQLite's `like`.
    let pattern = out.bind(SqlValue::Text(pattern.to_ascii_lowercase()));
    out.push(&format!("(lower({text}) LIKE {pattern}::text ESCAPE '\\')"));
}

pub(in super::super) fn is_null(out: &mut SqlWriter, tested: &Side<'_>) {
    let condition = match seen_side(out, tested) {
        Seen { number: None, text: None } => "TRUE".to_owned(),
        Seen { number: Some(_), text: Some(_) } => match tested {
            Side::Place(place) => {
                let value = Path::new(out, place).value();
                format!("COALESCE(jsonb_typeof({value}),'null')='null'")
            }
            Side::Value(_) => unreachable!("a value is of one type"),
        },
        seen => seen.is_null(),
    };
    out.push(&format!("({condition})"));
}

pub(in super::super) fn has(out: &mut SqlWriter, place: &Place, wanted: &Side<'_>) {
    let path = Path::new(out, place);
    let Side::Value(wanted) = wanted else { unreachable!("the check lets values alone follow `has`") };
    let condition = match (wanted, seen_value(out, wanted)) {
        (_, Seen { number: Some(number), .. }) => {
            entry("jsonb", &path.value(), &format!("collections_numeric(entry.value)={number}"))
        }
        // An array or object within the array equals its text, and only the JSON as stored has that text.
        (SqlValue::Text(text), Seen { text: Some(bound), .. }) if text.starts_with(['[', '{']) => {
            let test = "json_typeof(entry.value) IN ('string','array','object') AND entry.value#>>'{}'";
            let stored = entry("json", &path.stored(), &format!("{test}={bound}"));
            format!(
                "CASE jsonb_typeof({}) WHEN 'string' THEN {}={bound} WHEN 'array' THEN {stored} \
                 WHEN 'object' THEN {stored} ELSE FALSE END",
                path.value(),
                path.text()
            )
        }
        (_, Seen { text: Some(bound), .. }) => entry(
            "jsonb",
            &path.value(),
            &format!("jsonb_typeof(entry.value)='string' AND entry.value#>>'{{}}'={bound}"),
        ),
        _ => "FALSE".to_owned(),
    };
    out.push(&format!("({condition})"));
}

/// Returns the condition that an entry of an array, a member of an object, or any other value passes a test.
fn entry(kind: &str, value: &str, test: &str) -> String {
    format!(
        "EXISTS(SELECT 1 FROM {kind}_array_elements(CASE {kind}_typeof({value}) WHEN 'array' THEN {value} \
         WHEN 'object' THEN (SELECT {kind}_agg(member.value) FROM {kind}_each({value}) AS member) \
         ELSE {kind}_build_array({value}) END) AS entry(value) WHERE {test})"
    )
}
