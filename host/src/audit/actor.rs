//! Who did it, and from where.

use std::{convert::Infallible, sync::Arc};

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::{accounts::Caller, http::RequestInfo};

/// What kind of actor it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// A signed-in person.
    User,
    /// An application token.
    Token,
    /// Someone at the command line.
    Command,
    /// An extension, by itself.
    Extension,
    /// The host, by itself.
    System,
    /// Someone who is not signed in.
    Nobody,
}

impl ActorKind {
    /// Its name, as it is stored and answered.
    pub fn name(self) -> &'static str {
        match self {
            ActorKind::User => "user",
            ActorKind::Token => "token",
            ActorKind::Command => "command",
            ActorKind::Extension => "extension",
            ActorKind::System => "system",
            ActorKind::Nobody => "nobody",
        }
    }
}

/// Who did it, and from where. A handler of the host's takes it as an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// What kind it is.
    pub kind: ActorKind,
    /// The user's or the application token's id.
    pub id: Option<String>,
    /// The email, the extension's name; empty for nobody.
    pub name: String,
    /// The client's address.
    pub address: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
}

impl Actor {
    /// An actor that is not at the other end of a request.
    pub fn local(kind: ActorKind, name: &str) -> Actor {
        Actor { kind, id: None, name: name.to_owned(), address: None, request_id: None }
    }

    /// Someone at the command line: the operating system's user, where it knows a name.
    pub fn command() -> Actor {
        Actor::local(ActorKind::Command, &whoami::username().unwrap_or_default())
    }

    /// The host, by itself.
    pub fn system() -> Actor {
        Actor::local(ActorKind::System, "tinybase")
    }

    /// The caller of a request, who may be nobody.
    pub fn of_request(caller: Option<&Caller>, info: Option<&RequestInfo>) -> Actor {
        let (kind, id, name) = match caller {
            None => (ActorKind::Nobody, None, ""),
            Some(caller) => match &caller.token_id {
                Some(token) => (ActorKind::Token, Some(token.to_string()), caller.email.as_str()),
                None => (ActorKind::User, Some(caller.user_id.clone()), caller.email.as_str()),
            },
        };
        Actor {
            kind,
            id,
            name: name.to_owned(),
            address: info.map(|info| info.client.to_string()),
            request_id: info.map(|info| info.id.as_str().to_owned()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Actor, Infallible> {
        let caller = parts.extensions.get::<Arc<Caller>>();
        Ok(Actor::of_request(caller.map(Arc::as_ref), parts.extensions.get::<RequestInfo>()))
    }
}
