//! Tests of the server from the client's side: a real server on port 0, and raw sockets that behave well or badly.

mod floods;
mod harness;
mod headers;
mod hosts;
mod limits;
mod protocol;
mod rate_limits;
mod routing;
mod shutdown;
mod slow_clients;
mod unread;
