//! Codes of an authenticator app (TOTP, RFC 6238): the secret, the URL that transfers it to an app, and the time step
//! of a code. It never remembers which steps were used.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use totp_rs::{Builder, Totp};

/// The defaults of every app: six digits, 30 seconds, SHA-1.
const DIGITS: u8 = 6;
const STEP_SECONDS: u64 = 30;

/// The number of accepted steps before and after the current one: phones' clocks drift, and typing takes time.
const STEPS_AROUND: u16 = 1;

/// The length that RFC 4226 recommends.
const SECRET_BYTES: usize = 20;

/// Every character except the unreserved ones of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Generates a new secret.
pub(super) fn new_secret() -> [u8; SECRET_BYTES] {
    rand::random()
}

fn totp(secret: &[u8]) -> Totp {
    let builder = Builder::new().with_digits(DIGITS).with_step_duration(STEP_SECONDS).with_skew(STEPS_AROUND);
    builder.with_secret(secret.to_vec()).build_noncompliant()
}

/// Returns the secret in base32, as typed into an app.
pub(super) fn in_base32(secret: &[u8]) -> String {
    totp(secret).secret().to_base32()
}

/// Returns the URL that an app reads, usually from a QR code.
pub(super) fn otpauth_url(secret: &[u8], issuer: &str, email: &str) -> String {
    // A colon would end the issuer.
    let issuer = issuer.replace(':', " ");
    let (issuer, email) = (utf8_percent_encode(&issuer, ESCAPED), utf8_percent_encode(email, ESCAPED));
    let secret = in_base32(secret);
    format!("otpauth://totp/{issuer}:{email}?secret={secret}&issuer={issuer}")
}

/// Returns the time step of `code`, if it is one of those around `now_seconds`. Takes the same time for any six digits.
pub(super) fn step_of(secret: &[u8], code: &str, now_seconds: u64) -> Option<i64> {
    let code = code.split_whitespace().collect::<String>();
    let step = totp(secret).check(&code, now_seconds)?;
    Some(step.cast_signed())
}

/// Returns the newest time step that a code may have.
pub(super) fn newest_step(now_seconds: u64) -> i64 {
    (now_seconds / STEP_SECONDS + u64::from(STEPS_AROUND)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RFC_SECRET: &[u8] = b"12345678901234567890";

    #[test]
    fn codes_are_those_of_the_rfc() {
        // RFC 6238, appendix B: the last six digits of its eight.
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(step_of(RFC_SECRET, code, seconds), Some((seconds / 30).cast_signed()));
        }
        assert_eq!(step_of(RFC_SECRET, " 287 082\n", 59), Some(1));
    }

    #[test]
    fn one_step_before_and_after_is_taken_and_no_more() {
        for (now, expected) in
            [(0, Some(1)), (30, Some(1)), (60, Some(1)), (89, Some(1)), (90, None), (150, None)]
        {
            assert_eq!(step_of(RFC_SECRET, "287082", now), expected, "at {now} s");
        }
    }

    #[test]
    fn what_is_no_code_is_wrong() {
        for code in ["", "28708", "2870820", "28708x", "-87082", "287082\0", "２８７０８２", "+87082"] {
            assert_eq!(step_of(RFC_SECRET, code, 59), None, "{code:?}");
        }
    }

    #[test]
    fn the_url_is_one_that_apps_read() {
        assert_eq!(
            otpauth_url(b"12345678901234567890", "Ada: & co", "ada+x@example.org"),
            "otpauth://totp/Ada%20%20%26%20co:ada%2Bx%40example.org\
             ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Ada%20%20%26%20co"
        );
    }
}
