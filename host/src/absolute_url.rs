//! Validates absolute URLs of pages and pictures. It never fetches one.

use http::{Uri, uri::Scheme};

/// The maximum length in bytes.
pub const ABSOLUTE_URL_BYTES_MAX: usize = 2048;

/// Whether `text` contains nothing that browsers interpret differently: they treat `\` as `/` and drop control
/// characters, so that such a URL may lead elsewhere.
pub fn is_plain(text: &str) -> bool {
    text.chars().all(|letter| letter.is_ascii_graphic() && !matches!(letter, '\\' | '"' | '<' | '>' | '`'))
}

/// Whether `text` is an `http` or `https` URL with a host and without a password in it.
pub fn is_absolute_url(text: &str) -> bool {
    let uri = Some(text).filter(|text| text.len() <= ABSOLUTE_URL_BYTES_MAX && is_plain(text));
    let uri = uri.and_then(|text| text.parse::<Uri>().ok());
    uri.is_some_and(|uri| {
        let web = uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        web && authority.is_some_and(|authority| !authority.host().is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_the_web_with_a_host_are_taken() {
        for good in [
            "https://example.org",
            "http://localhost:8000/a?b=c#d",
            "https://[::1]/x",
            "https://ex.org/%C3%A4",
        ] {
            assert!(is_absolute_url(good), "{good}");
        }
        let long = format!("https://example.org/{}", "x".repeat(ABSOLUTE_URL_BYTES_MAX));
        let bad = [
            "",
            "/admin",
            "example.org",
            "//example.org/x",
            "https://",
            "https:///x",
            "ftp://example.org",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://a:b@example.org",
            "https://exa mple.org",
            "https://example.org\\@evil.example",
            "https:\\\\example.org",
            &long,
        ];
        for bad in bad {
            assert!(!is_absolute_url(bad), "{bad}");
        }
    }
}
