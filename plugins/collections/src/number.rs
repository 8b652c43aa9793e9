//! Numbers that stand as text: whether one survives the way into JSON and back. It converts nothing by itself.

use crate::json::Json;

/// The number that a text is, in the form in which JSON holds it, where that has the same value.
pub(crate) fn exact(text: &str) -> Option<Json<'static>> {
    let number = nearest(text)?;
    let same = match &number {
        Json::Float(_) => decimal(text)? == decimal(&number.to_text())?,
        _ => true,
    };
    same.then_some(number)
}

/// Whether a text is a number, be it one that JSON does not hold to the last digit.
pub(crate) fn looks_like_one(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') && text.parse::<f64>().is_ok()
}

/// The number of a text that is written as JSON writes it, digit for digit: `1.10`, `007` and `1E10` are none.
pub(crate) fn verbatim(text: &str) -> Option<Json<'static>> {
    nearest(text).filter(|number| number.to_text() == text)
}

fn nearest(text: &str) -> Option<Json<'static>> {
    if !looks_like_one(text) {
        return None;
    }
    if let Ok(number) = text.parse() {
        return Some(Json::Int(number));
    }
    if let Ok(number) = text.parse() {
        return Some(Json::Uint(number));
    }
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Json::Float)
}

/// A decimal number as its sign, its digits without zeros at either end, and the power of ten behind the last one.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    const BYTES_MAX: usize = 1_000;
    if text.len() > BYTES_MAX {
        return None;
    }
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let kept = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - kept.len()).ok()?;
    let power =
        exponent.parse::<i64>().ok()?.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(zeros)?;
    let kept = kept.trim_start_matches('0');
    Some(if kept.is_empty() { (false, String::new(), 0) } else { (negative, kept.to_owned(), power) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_survives_or_is_none() {
        for (text, same_value, same_text) in [
            ("1", true, true),
            ("-7", true, true),
            ("1.5", true, true),
            ("1.0", true, true),
            ("1e+16", true, true),
            ("18446744073709551615", true, true),
            ("1.10", true, false),
            ("1E10", true, false),
            ("007", true, false),
            ("+5", true, false),
            (".5", true, false),
            ("0.1", true, true),
            ("12345678901234567890123", false, false),
            ("0.1000000000000000055", false, false),
            ("9007199254740993.0", false, false),
            ("1e999", false, false),
            ("1e-999", false, false),
            ("", false, false),
            ("-", false, false),
            ("abc", false, false),
            ("NaN", false, false),
            ("inf", false, false),
            ("1 ", false, false),
            ("0x10", false, false),
        ] {
            assert_eq!((exact(text).is_some(), verbatim(text).is_some()), (same_value, same_text), "{text}");
        }
    }
}
