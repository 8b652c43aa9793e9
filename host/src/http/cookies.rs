//! The restrictions on every cookie that an extension sets: it is limited to the extension's paths, and hidden from
//! scripts and other sites unless the extension requests otherwise. It never reads or changes a cookie's value.

use http::{HeaderMap, HeaderValue, header};
use thiserror::Error;

/// The longest `Set-Cookie`, including attributes; browsers have about the same limit.
pub(super) const COOKIE_BYTES_MAX: usize = 4096;

/// The maximum number of cookies per response.
pub(super) const COOKIES_MAX: usize = 20;

/// A response with a cookie is for one client only.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Why a cookie is rejected. The message reveals nothing of the cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum BadCookie {
    #[error("more than {COOKIES_MAX} cookies")]
    TooMany,
    #[error("a cookie of more than {COOKIE_BYTES_MAX} bytes")]
    TooLong,
    #[error("a cookie without a name, or one that is no ASCII text")]
    Malformed,
}

/// Enforces the restrictions on every `Set-Cookie` of an extension's response. `paths` are the prefixes that the
/// extension owns; the route's own is first.
///
/// # Errors
/// The first cookie that cannot be sent.
pub(super) fn enforce_attributes(
    headers: &mut HeaderMap,
    paths: &[String],
    is_https: bool,
) -> Result<(), BadCookie> {
    if !headers.contains_key(header::SET_COOKIE) {
        return Ok(());
    }
    let set = headers.get_all(header::SET_COOKIE).iter();
    let held = set.map(|cookie| held(cookie, paths, is_https)).collect::<Result<Vec<_>, _>>()?;
    if held.len() > COOKIES_MAX {
        return Err(BadCookie::TooMany);
    }
    headers.remove(header::SET_COOKIE);
    for cookie in held {
        headers.append(header::SET_COOKIE, cookie);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
    Ok(())
}

fn held(cookie: &HeaderValue, paths: &[String], is_https: bool) -> Result<HeaderValue, BadCookie> {
    let text = cookie.to_str().map_err(|_| BadCookie::Malformed)?;
    let mut parts = text.split(';').map(str::trim);
    let pair = parts.next().unwrap_or_default();
    if pair.split_once('=').is_none_or(|(name, _)| name.trim().is_empty()) {
        return Err(BadCookie::Malformed);
    }
    let mut kept = vec![pair];
    let (mut path, mut has_same_site, mut is_secure, mut is_http_only) = (None, false, is_https, true);
    for part in parts {
        let (name, value) =
            part.split_once('=').map_or((part, ""), |(name, value)| (name.trim(), value.trim()));
        match name.to_ascii_lowercase().as_str() {
            "domain" | "" => {}
            "path" => path = Some(value),
            "secure" => is_secure = true,
            // Browsers treat `HttpOnly=…` with any value as `HttpOnly`; so every value except `false` does so here,
            // which is the safe side.
            "httponly" => is_http_only = !value.eq_ignore_ascii_case("false"),
            "samesite" => {
                has_same_site = true;
                kept.push(part);
            }
            _ => kept.push(part),
        }
    }
    let own = paths.first().map_or("/", String::as_str);
    let path = format!("Path={}", path.filter(|path| is_under(path, paths)).unwrap_or(own));
    kept.push(&path);
    let flags = [(is_http_only, "HttpOnly"), (is_secure, "Secure"), (!has_same_site, "SameSite=Lax")];
    kept.extend(flags.into_iter().filter_map(|(is_set, flag)| is_set.then_some(flag)));
    let held = kept.join("; ");
    if held.len() > COOKIE_BYTES_MAX {
        return Err(BadCookie::TooLong);
    }
    HeaderValue::from_str(&held).map_err(|_| BadCookie::Malformed)
}

fn is_under(path: &str, prefixes: &[String]) -> bool {
    prefixes.iter().any(|prefix| {
        path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_as(cookie: &str, is_https: bool) -> Result<String, BadCookie> {
        let paths = ["/api/notes".to_owned(), "/notes".to_owned()];
        let mut headers = HeaderMap::new();
        headers.insert(header::SET_COOKIE, HeaderValue::from_str(cookie).unwrap());
        enforce_attributes(&mut headers, &paths, is_https)?;
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        Ok(headers[header::SET_COOKIE].to_str().unwrap().to_owned())
    }

    #[test]
    fn a_cookie_is_made_to_hold() {
        let cases = [
            ("a=1", "a=1; Path=/api/notes; HttpOnly; SameSite=Lax"),
            ("a=1; Path=/", "a=1; Path=/api/notes; HttpOnly; SameSite=Lax"),
            ("a=1; path=/notes/x", "a=1; Path=/notes/x; HttpOnly; SameSite=Lax"),
            ("a=1; Path=/notesx", "a=1; Path=/api/notes; HttpOnly; SameSite=Lax"),
            ("a=1; Path=/notes; Path=/", "a=1; Path=/api/notes; HttpOnly; SameSite=Lax"),
            ("a=1; Domain=example.org; DOMAIN=x", "a=1; Path=/api/notes; HttpOnly; SameSite=Lax"),
            ("a=1; samesite=Strict", "a=1; samesite=Strict; Path=/api/notes; HttpOnly"),
            ("a=1; HttpOnly", "a=1; Path=/api/notes; HttpOnly; SameSite=Lax"),
            ("a=1; HttpOnly=false", "a=1; Path=/api/notes; SameSite=Lax"),
            ("a=1; Secure", "a=1; Path=/api/notes; HttpOnly; Secure; SameSite=Lax"),
            ("a=\"x y\"; Max-Age=5;", "a=\"x y\"; Max-Age=5; Path=/api/notes; HttpOnly; SameSite=Lax"),
            (
                "a=; Expires=Wed, 21 Oct 2015 07:28:00 GMT",
                "a=; Expires=Wed, 21 Oct 2015 07:28:00 GMT; Path=/api/notes; HttpOnly; SameSite=Lax",
            ),
        ];
        for (set, expected) in cases {
            assert_eq!(held_as(set, false).as_deref(), Ok(expected), "{set}");
        }
        assert_eq!(
            held_as("a=1", true).as_deref(),
            Ok("a=1; Path=/api/notes; HttpOnly; Secure; SameSite=Lax")
        );
    }

    #[test]
    fn a_cookie_that_is_none_is_refused() {
        for malformed in ["", "a", "=1", " =1; Path=/", "; a=1", "a=\u{e9}"] {
            assert_eq!(held_as(malformed, false), Err(BadCookie::Malformed), "{malformed}");
        }
        assert_eq!(held_as(&format!("a={}", "x".repeat(COOKIE_BYTES_MAX)), false), Err(BadCookie::TooLong));
        let mut headers = HeaderMap::new();
        for _ in 0..=COOKIES_MAX {
            headers.append(header::SET_COOKIE, HeaderValue::from_static("a=1"));
        }
        assert_eq!(enforce_attributes(&mut headers, &[], false), Err(BadCookie::TooMany));
    }

    #[test]
    fn an_answer_without_cookies_is_left_alone() {
        let mut headers = HeaderMap::new();
        assert_eq!(enforce_attributes(&mut headers, &[], true), Ok(()));
        assert!(headers.is_empty());
    }
}
