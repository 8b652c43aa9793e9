//! The actor of a change, and the address.

use std::{convert::Infallible, sync::Arc};

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::{accounts::Caller, http::RequestInfo};

/// The kind of an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// A signed-in person.
    User,
    /// An application token.
    Token,
    /// A user of the command line.
    Command,
    /// An extension, on its own.
    Extension,
    /// The host, on its own.
    System,
    /// A client that is not signed in.
    Nobody,
}

impl ActorKind {
    /// Returns its name, as stored and as sent to clients.
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

/// The actor of a change, and the address. The host's handlers extract it as an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The kind.
    pub kind: ActorKind,
    /// The id of the user or the application token.
    pub id: Option<String>,
    /// The email or the extension's name; empty if nobody is signed in.
    pub name: String,
    /// The client's address.
    pub address: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
}

impl Actor {
    /// Returns an actor without a request.
    pub fn local(kind: ActorKind, name: &str) -> Actor {
        Actor { kind, id: None, name: name.to_owned(), address: None, request_id: None }
    }

    /// Returns the actor of the command line, with the name of the operating system's user if known.
    pub fn command() -> Actor {
        Actor::local(ActorKind::Command, &whoami::username().unwrap_or_default())
    }

    /// Returns the actor of the host itself.
    pub fn system() -> Actor {
        Actor::local(ActorKind::System, "tinybase")
    }

    /// Returns the actor of a request; the caller is `None` if nobody is signed in.
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
