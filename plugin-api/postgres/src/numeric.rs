//! Converts PostgreSQL's `numeric` in binary form to and from packed numbers. Writing never rounds; reading rounds only
//! values that no 64-bit number can represent.

use std::fmt::Write;

use tinybase_abi::codec::ValueRef;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;
/// The decimal digits in each digit of the binary form.
const GROUP: usize = 4;

/// Appends an integer.
pub fn put_integer(out: &mut Vec<u8>, number: i64) {
    put_decimal(out, &number.to_string());
}

/// Appends a float in its shortest decimal form. One without a fraction gets a zero after the point, so that it is
/// read back as a float.
pub fn put_real(out: &mut Vec<u8>, number: f64) {
    if number.is_nan() {
        return put_parts(out, 0, NAN, 0, &[]);
    }
    if number.is_infinite() {
        let sign = if number > 0.0 { INFINITY } else { NEGATIVE_INFINITY };
        return put_parts(out, 0, sign, 0, &[]);
    }
    let mut text = number.to_string();
    if !text.contains('.') {
        text.push_str(".0");
    }
    put_decimal(out, &text);
}

/// Appends decimal digits with an optional sign and at most one point.
fn put_decimal(out: &mut Vec<u8>, text: &str) {
    let (sign, text) = text.strip_prefix('-').map_or((0, text), |rest| (NEGATIVE, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let scale = u16::try_from(fraction.len()).expect("a 64-bit float has under 1100 decimals");
    let lead = (GROUP - whole.len() % GROUP) % GROUP;
    let padded = format!("{}{whole}{fraction}", "0".repeat(lead));
    let mut groups: Vec<i16> = padded
        .as_bytes()
        .chunks(GROUP)
        .map(|chunk| {
            let value = chunk.iter().fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0'));
            value * 10_i16.pow(u32::try_from(GROUP - chunk.len()).expect("a chunk is short"))
        })
        .collect();
    let mut weight = i16::try_from((lead + whole.len()) / GROUP).expect("under 400 digits") - 1;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let zeros = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..zeros);
    weight -= i16::try_from(zeros).expect("under 400 digits");
    if groups.is_empty() {
        weight = 0;
    }
    put_parts(out, weight, sign, scale, &groups);
}

fn put_parts(out: &mut Vec<u8>, weight: i16, sign: u16, scale: u16, groups: &[i16]) {
    let count = i16::try_from(groups.len()).expect("under 400 digits");
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
    for group in groups {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

/// Reads a number: an integer if it has no decimals and fits 64 bits, otherwise a float. `None` if the bytes are not a
/// numeric.
pub fn read(bytes: &[u8]) -> Option<ValueRef<'static>> {
    let word = |at: usize| Some(u16::from_be_bytes(bytes.get(2 * at..2 * at + 2)?.try_into().ok()?));
    let (count, weight, sign, scale) = (usize::from(word(0)?), word(1)?.cast_signed(), word(2)?, word(3)?);
    match sign {
        0 | NEGATIVE => {}
        NAN => return Some(ValueRef::Real(f64::NAN)),
        INFINITY => return Some(ValueRef::Real(f64::INFINITY)),
        NEGATIVE_INFINITY => return Some(ValueRef::Real(f64::NEG_INFINITY)),
        _ => return None,
    }
    let groups: Vec<u16> = (0..count).map(|at| word(4 + at)).collect::<Option<_>>()?;
    let text = decimal(&groups, weight, sign == NEGATIVE, usize::from(scale));
    if scale == 0
        && let Ok(number) = text.parse()
    {
        return Some(ValueRef::Integer(number));
    }
    text.parse().ok().map(ValueRef::Real)
}

fn decimal(groups: &[u16], weight: i16, negative: bool, scale: usize) -> String {
    let mut text = String::from(if negative { "-" } else { "" });
    let group = |at: i32| usize::try_from(at).ok().and_then(|at| groups.get(at)).copied().unwrap_or(0);
    let weight = i32::from(weight);
    if weight < 0 {
        text.push('0');
    }
    for at in 0..=weight {
        let _ = if at == 0 { write!(text, "{}", group(at)) } else { write!(text, "{:04}", group(at)) };
    }
    if scale > 0 {
        text.push('.');
        let start = text.len();
        let mut at = weight + 1;
        while text.len() - start < scale {
            let _ = write!(text, "{:04}", group(at));
            at += 1;
        }
        text.truncate(start + scale);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_what_they_were() {
        for number in [0, 1, -1, 9999, 10_000, 12_345_678, 100_000_000, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            put_integer(&mut bytes, number);
            assert_eq!(read(&bytes), Some(ValueRef::Integer(number)));
        }
        for number in [0.0, 1.0, -1.5, 0.1, 1e-7, 123.456, 1e22, 5e-324, f64::MAX, 9_007_199_254_740_993.0] {
            let mut bytes = Vec::new();
            put_real(&mut bytes, number);
            assert_eq!(read(&bytes), Some(ValueRef::Real(number)), "{number}");
        }
        for number in [f64::INFINITY, f64::NEG_INFINITY] {
            let mut bytes = Vec::new();
            put_real(&mut bytes, number);
            assert_eq!(read(&bytes), Some(ValueRef::Real(number)));
        }
    }

    #[test]
    fn the_binary_form_is_postgresqls() {
        let mut bytes = Vec::new();
        put_real(&mut bytes, -12_345.678);
        // Four-digit groups from 10000¹ on: 1 2345 . 6780
        assert_eq!(bytes, [0, 3, 0, 1, 0x40, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c]);
        assert_eq!(read(&[0, 1, 0]), None);
    }

    #[test]
    fn what_is_too_large_for_an_integer_becomes_a_float() {
        let mut bytes = Vec::new();
        put_decimal(&mut bytes, "92233720368547758080");
        assert_eq!(read(&bytes), Some(ValueRef::Real(9.223_372_036_854_776e19)));
    }
}
