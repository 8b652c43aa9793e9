//! The server as clients see it: a real one on port 0, and raw sockets that behave well or badly.

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
