//! The client that signs in: its address and program. It never decides anything by them.

use std::{convert::Infallible, net::IpAddr};

use axum::extract::FromRequestParts;
use http::{HeaderMap, header, request::Parts};

use crate::{
    audit::{Actor, ActorKind},
    http::{RequestInfo, is_made_here},
};

/// The maximum number of characters kept of the user agent.
pub const USER_AGENT_CHARS_MAX: usize = 200;

/// The client of a request. The host's handlers extract it as an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The caller for the audit log, with the address and the request id.
    pub actor: Actor,
    /// The first [`USER_AGENT_CHARS_MAX`] characters of `User-Agent`.
    pub user_agent: Option<String>,
    /// Whether the request was made from this machine to this machine, and not by a page of another site.
    pub is_here: bool,
}

impl Client {
    /// Returns a client without a request.
    pub fn local(kind: ActorKind, name: &str) -> Client {
        Client { actor: Actor::local(kind, name), user_agent: None, is_here: false }
    }

    /// Returns a client that this request names, but that did not send it.
    pub fn told(actor: Actor, user_agent: Option<&str>) -> Client {
        Client { actor, user_agent: user_agent.map(cut).filter(|kept| !kept.is_empty()), is_here: false }
    }

    /// Returns the client's address; `None` without a connection.
    pub fn address(&self) -> Option<IpAddr> {
        self.actor.address.as_ref()?.parse().ok()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Client, Infallible> {
        let actor = Actor::from_request_parts(parts, state).await?;
        let info = parts.extensions.get::<RequestInfo>();
        let is_here = info.is_some_and(|info| is_made_here(info.peer, &parts.uri, &parts.headers));
        Ok(Client { actor, user_agent: user_agent(&parts.headers), is_here })
    }
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let sent = String::from_utf8_lossy(headers.get(header::USER_AGENT)?.as_bytes()).into_owned();
    let kept = cut(&sent);
    (!kept.is_empty()).then_some(kept)
}

/// Returns the part of `text` that is kept, without control characters.
fn cut(text: &str) -> String {
    let kept = text.chars().filter(|letter| !letter.is_control()).take(USER_AGENT_CHARS_MAX);
    kept.collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_a_client_says_of_itself_is_cut() {
        let long = "ä".repeat(1000);
        let cases: [(&[u8], Option<&str>); 5] = [
            (b"curl/8.5", Some("curl/8.5")),
            (b"  a\tb ", Some("ab")),
            (b"", None),
            (b"\xff", Some("\u{fffd}")),
            (long.as_bytes(), Some(&long[..2 * USER_AGENT_CHARS_MAX])),
        ];
        for (sent, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::USER_AGENT, HeaderValue::from_bytes(sent).unwrap());
            assert_eq!(user_agent(&headers).as_deref(), expected, "{sent:?}");
        }
        assert_eq!(user_agent(&HeaderMap::new()), None);
    }

    #[test]
    fn an_address_is_one_or_none() {
        let mut client = Client::local(ActorKind::Nobody, "");
        assert_eq!(client.address(), None);
        client.actor.address = Some("2001:db8::1".into());
        assert_eq!(client.address(), "2001:db8::1".parse().ok());
    }
}
