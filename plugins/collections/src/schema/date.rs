//! Dates and times in records. It supports RFC 3339 and no other format.
//!
//! A date (`2026-11-23`) stays unchanged. A date with a time is converted to UTC with six digits of a second
//! (`2026-11-23T09:08:51.120000Z`; further digits are cut off). This way dates sort as text in the order of time, and a
//! date alone comes before every time of its day.

use jiff::{SignedDuration, civil};

const DATE_BYTES: usize = "2026-11-23".len();

/// Returns the normal form of an RFC 3339 date or date-time, or `None` if `text` is neither.
pub fn normalise(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    if !text.is_ascii() || bytes.len() < DATE_BYTES {
        return None;
    }
    let date = civil_date(&text[..DATE_BYTES])?;
    if bytes.len() == DATE_BYTES {
        return Some(text.to_owned());
    }
    let rest = text[DATE_BYTES..].strip_prefix(['T', 't', ' '])?;
    let (clock, offset_minutes) = split_offset(rest)?;
    let time = civil_time(clock)?;
    let utc = date.to_datetime(time).checked_sub(SignedDuration::from_mins(offset_minutes)).ok()?;
    if utc.year() < 0 {
        return None;
    }
    let micros = utc.subsec_nanosecond() / 1_000;
    Some(format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{micros:06}Z",
        utc.year(),
        utc.month(),
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second()
    ))
}

fn civil_date(text: &str) -> Option<civil::Date> {
    let bytes = text.as_bytes();
    if bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let year = digits(&text[..4])?;
    civil::Date::new(year, digits(&text[5..7])?.try_into().ok()?, digits(&text[8..])?.try_into().ok()?).ok()
}

/// Parses `HH:MM:SS`, with or without a fraction; a leap second counts as the second before it.
fn civil_time(text: &str) -> Option<civil::Time> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let bytes = clock.as_bytes();
    if bytes.len() != 8 || bytes[2] != b':' || bytes[5] != b':' {
        return None;
    }
    let second = digits(&clock[6..])?;
    let nanoseconds = if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    } else {
        format!("{:0<9.9}", fraction).parse().ok()?
    };
    let second = if second == 60 { 59 } else { second };
    civil::Time::new(
        digits(&clock[..2])?.try_into().ok()?,
        digits(&clock[3..5])?.try_into().ok()?,
        second.try_into().ok()?,
        nanoseconds,
    )
    .ok()
}

/// Splits off the UTC offset: returns the time of day and the minutes ahead of UTC.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let at = text.len().checked_sub("+00:00".len())?;
    let (clock, offset) = text.split_at(at);
    let sign = match offset.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    if offset.as_bytes()[3] != b':' {
        return None;
    }
    let (hours, minutes) = (digits(&offset[1..3])?, digits(&offset[4..])?);
    (hours < 24 && minutes < 60).then_some((clock, sign * i64::from(hours * 60 + minutes)))
}

fn digits(text: &str) -> Option<i16> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_take_their_normal_form() {
        for (text, expected) in [
            ("2026-11-23", Some("2026-11-23")),
            ("2024-02-29", Some("2024-02-29")),
            ("2023-02-29", None),
            ("2026-13-01", None),
            ("2026-1-01", None),
            ("20261101", None),
            ("2026-11-23T10:08:51Z", Some("2026-11-23T10:08:51.000000Z")),
            ("2026-11-23t10:08:51.5z", Some("2026-11-23T10:08:51.500000Z")),
            ("2026-11-23 10:08:51+02:00", Some("2026-11-23T08:08:51.000000Z")),
            ("2026-01-01T00:30:00.123456789+01:00", Some("2025-12-31T23:30:00.123456Z")),
            ("2026-12-31T23:59:60Z", Some("2026-12-31T23:59:59.000000Z")),
            ("2026-11-23T10:08Z", None),
            ("2026-11-23T10:08:51", None),
            ("2026-11-23T10:08:51.Z", None),
            ("2026-11-23T25:08:51Z", None),
            ("2026-11-23T10:08:51+2:00", None),
            ("2026-11-23T10:08:51+24:00", None),
            ("0000-01-01T00:00:00+01:00", None),
            ("+026-11-23", None),
            ("Jun 12 1998", None),
            ("２０２６-11-23", None),
            ("", None),
        ] {
            assert_eq!(normalise(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn normal_forms_sort_as_time_does() {
        let times =
            ["2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z", "2026-01-01T01:00:00+00:30"];
        let normal: Vec<String> = times.iter().map(|text| normalise(text).unwrap()).collect();
        assert!(normal.is_sorted(), "{normal:?}");
    }
}
