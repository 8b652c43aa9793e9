//! Numbers in text form: whether one survives the conversion to JSON and back. It converts nothing by itself.

use crate::json::Json;

/// Returns the number in a text, in JSON's form, if that has exactly the same value.
pub(crate) fn exact(text: &str) -> Option<Json<'static>> {
    let number = nearest(text)?;
    let same = match &number {
        Json::Float(_) => decimal(text)? == decimal(&number.to_text())?,
        _ => true,
    };
    same.then_some(number)
}

/// Returns whether a text is a number, even one that JSON cannot represent exactly.
pub(crate) fn looks_like_one(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') && text.parse::<f64>().is_ok()
}

/// Returns the number in a text written digit for digit as JSON writes it: `1.10`, `007` and `1E10` are not.
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

/// Returns the first integer in JSON text that would be changed by rounding: one of more than 64 bits.
pub(crate) fn inexact(json: &[u8]) -> Option<String> {
    // An integer with fewer digits fits 64 bits. One with at least this many covers one of these positions.
    const DIGITS: usize = 19;
    let is_long = |at: usize| {
        let digits =
            |bytes: &mut dyn Iterator<Item = &u8>| bytes.take_while(|byte| byte.is_ascii_digit()).count();
        json[at].is_ascii_digit()
            && digits(&mut json[..at].iter().rev().take(DIGITS)) + digits(&mut json[at..].iter().take(DIGITS))
                >= DIGITS
    };
    if !(DIGITS - 1..json.len()).step_by(DIGITS).any(is_long) {
        return None;
    }
    let mut at = 0;
    while at < json.len() {
        match json[at] {
            b'"' => at = behind_text(json, at),
            b'-' | b'0'..=b'9' => {
                let part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let end = at + json[at..].iter().take_while(|byte| part(byte)).count();
                let text = std::str::from_utf8(&json[at..end]).unwrap_or_default();
                let is_integer = !text.contains(['.', 'e', 'E']);
                if end - at >= DIGITS && is_integer && exact(text).is_none() {
                    return Some(text.to_owned());
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    None
}

/// Returns the position after the string that begins here.
fn behind_text(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < json.len() && json[at] != b'"' {
        at += if json[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// Returns the message for an integer found by [`inexact`].
pub(crate) fn inexact_words(number: &str) -> String {
    let shown = crate::fault::shorten(number);
    format!("the number {shown} would not come back as it is: integers have 64 bits; give it as text")
}

/// Splits a decimal number into its sign, its digits without zeros at either end, and the power of ten of its last
/// digit.
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
    fn integers_that_change_are_found_wherever_they_stand() {
        for (json, found) in [
            ("9999999999999999999", None),
            ("-9999999999999999999", Some("-9999999999999999999")),
            ("-9223372036854775808", None),
            ("18446744073709551615", None),
            ("18446744073709551617", Some("18446744073709551617")),
            ("100000000000000000000", None),
            ("\"18446744073709551617\"", None),
            ("\"\\\" 18446744073709551617\"", None),
            ("\"\\\\\",18446744073709551617", Some("18446744073709551617")),
            ("1.8446744073709551617e30", None),
            ("0.12345678901234567890123", None),
        ] {
            for padding in 0..40 {
                let text = format!("{}[{json}, 1]", " ".repeat(padding));
                assert_eq!(inexact(text.as_bytes()).as_deref(), found, "{text}");
            }
        }
    }

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
