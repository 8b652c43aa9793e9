//! The limits and timeouts of the HTTP server, each with its default. It never enforces one itself.

use std::time::Duration;

use crate::{config::Config, memory::MemoryLimits};

/// The minimum number of largest responses that fit in memory at once: one request may need several for its own
/// response.
const ANSWERS_MIN: usize = 8;

/// The server's limits. Those that an operator may set come from [`Config`]; the others are fixed here.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The maximum number of open connections; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// The maximum bytes of an HTTP/1 request's head, including the request line; more is a 431.
    pub head_bytes_max: usize,
    /// The maximum number of headers of an HTTP/1 request; more is a 431.
    pub headers_max: usize,
    /// The maximum bytes of a request's path; more is a 414.
    pub path_bytes_max: usize,
    /// The maximum time from the first byte of a request's head to its last.
    pub header_read_timeout: Duration,
    /// The maximum time that a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// The maximum time without the client receiving any of the bytes that are ready.
    pub response_stall_timeout: Duration,
    /// The minimum rate at which a client must receive a response that it does not receive at once.
    pub response_rate_bytes_per_second_min: u32,
    /// The interval over which [`Limits::response_rate_bytes_per_second_min`] is measured.
    pub response_rate_grace: Duration,
    /// The maximum bytes of all responses in memory, including work on them; more is a 503.
    pub responses_bytes_max: usize,
    /// How long a response waits for room among those.
    pub responses_wait_timeout: Duration,
    /// The maximum bytes of a request's body if the route defines no limit; more is a 413.
    pub body_bytes_max: usize,
    /// The maximum bytes of all bodies in memory; more is a 503.
    pub bodies_bytes_max: usize,
    /// The maximum time for a body, or the interval in which a longer one must deliver enough bytes; longer is a 408.
    pub body_read_timeout: Duration,
    /// The minimum rate of a long body, measured over [`Limits::body_read_timeout`].
    pub body_rate_bytes_per_second_min: u32,
    /// The maximum time for a request if the route defines none; longer is a 504.
    pub request_timeout: Duration,
    /// The maximum time for open requests to finish once the server stops.
    pub shutdown_timeout: Duration,
    /// How long the server keeps reading after its last response, so that a client that is still sending receives it.
    pub linger_timeout: Duration,
    /// The smallest body, in bytes, that is compressed.
    pub compression_bytes_min: u16,
    /// HTTP/2: the maximum number of open streams per connection.
    pub h2_streams_max: u32,
    /// HTTP/2: the maximum bytes of a request's decoded headers.
    pub h2_header_list_bytes_max: u32,
    /// HTTP/2: the time without a frame after which the client is pinged.
    pub h2_ping_interval: Duration,
    /// HTTP/2: the maximum time for the client to respond to the ping.
    pub h2_ping_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 10_000,
            head_bytes_max: 64 << 10,
            headers_max: 100,
            path_bytes_max: 8 << 10,
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            response_stall_timeout: Duration::from_secs(30),
            response_rate_bytes_per_second_min: 4 << 10,
            response_rate_grace: Duration::from_secs(30),
            responses_bytes_max: 256 << 20,
            responses_wait_timeout: Duration::from_secs(2),
            body_bytes_max: 10 << 20,
            bodies_bytes_max: 256 << 20,
            body_read_timeout: Duration::from_secs(20),
            body_rate_bytes_per_second_min: 16 << 10,
            request_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(10),
            linger_timeout: Duration::from_secs(2),
            compression_bytes_min: 1024,
            h2_streams_max: 200,
            h2_header_list_bytes_max: 64 << 10,
            h2_ping_interval: Duration::from_secs(30),
            h2_ping_timeout: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// Returns the memory limits of all responses, including work on them.
    pub(crate) fn memory(&self) -> MemoryLimits {
        MemoryLimits { bytes_max: self.responses_bytes_max, wait_timeout: self.responses_wait_timeout }
    }

    /// Returns the limits from `config`.
    pub fn from_config(config: &Config) -> Limits {
        let server = &config.server;
        Limits {
            connections_max: server.connections_max,
            header_read_timeout: Duration::from_millis(server.header_read_timeout_ms),
            body_bytes_max: server.body_bytes_max,
            bodies_bytes_max: server.bodies_bytes_max.max(4 * server.body_bytes_max),
            body_read_timeout: Duration::from_millis(server.body_read_timeout_ms),
            body_rate_bytes_per_second_min: server.body_rate_bytes_per_second_min,
            response_stall_timeout: Duration::from_millis(server.response_stall_timeout_ms),
            response_rate_bytes_per_second_min: server.response_rate_bytes_per_second_min,
            response_rate_grace: Duration::from_millis(server.response_rate_grace_ms),
            responses_bytes_max: server
                .responses_bytes_max
                .max(ANSWERS_MIN * config.plugins.rows_bytes_max()),
            request_timeout: Duration::from_millis(server.request_timeout_ms),
            shutdown_timeout: Duration::from_millis(server.shutdown_timeout_ms),
            compression_bytes_min: server.compression_bytes_min,
            ..Limits::default()
        }
    }
}
