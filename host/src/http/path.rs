//! Decoding of percent-encoded path parts. It never accepts a NUL, a broken escape or invalid UTF-8.

/// Decodes one part of a path; `+` stays a plus. Returns `None` if an escape is broken (`%zz`), or if the result is not
/// UTF-8 (including overlong forms) or contains a NUL.
pub fn decode_path_part(part: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            plain => plain,
        };
        if byte == 0 {
            return None;
        }
        decoded.push(byte);
    }
    String::from_utf8(decoded).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::decode_path_part;

    #[test]
    fn parts_decode_or_are_refused() {
        let cases: [(&str, Option<&str>); 12] = [
            ("plain", Some("plain")),
            ("a%20b", Some("a b")),
            ("a+b", Some("a+b")),
            ("%2e%2E%2f", Some("../")),
            ("%C3%BC", Some("ü")),
            ("%00", None),
            ("a%", None),
            ("a%2", None),
            ("%zz", None),
            ("%ff", None),
            ("%c0%af", None),
            ("%ed%a0%80", None),
        ];
        for (part, expected) in cases {
            assert_eq!(decode_path_part(part).as_deref(), expected, "{part}");
        }
    }
}
