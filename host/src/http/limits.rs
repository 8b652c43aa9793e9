//! The limits and timeouts of the HTTP server, each with its default. It never enforces one itself.

use std::time::Duration;

use crate::{config::Config, memory::MemoryLimits};

/// How many of the largest answers all requests may hold together, at least: one request may hold several on its way to one.
const ANSWERS_MIN: usize = 8;

/// What the server bears. Every figure that an operator may set comes from [`Config`]; the others are fixed here.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at once; further ones wait in the system's queue.
    pub connections_max: usize,
    /// Bytes of an HTTP/1 request's head, request line included; more is a 431.
    pub head_bytes_max: usize,
    /// Headers of one HTTP/1 request; more is a 431.
    pub headers_max: usize,
    /// Bytes of a request's path; more is a 414.
    pub path_bytes_max: usize,
    /// How long a client may take from the first byte of a request's head to its last.
    pub header_read_timeout: Duration,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// How long a client may take none of the bytes that wait for it.
    pub response_stall_timeout: Duration,
    /// The slowest that a client may take an answer, once it does not take it at once.
    pub response_rate_bytes_per_second_min: u32,
    /// The time over which [`Limits::response_rate_bytes_per_second_min`] is reckoned.
    pub response_rate_grace: Duration,
    /// Bytes of all answers, and of the work on them, that are held in memory at once; more is a 503.
    pub responses_bytes_max: usize,
    /// How long an answer waits for room among those.
    pub responses_wait_timeout: Duration,
    /// Bytes of a request's body where the route names no limit of its own; more is a 413.
    pub body_bytes_max: usize,
    /// Bytes of all bodies that are held in memory at once; more is a 503.
    pub bodies_bytes_max: usize,
    /// How long a body may take, or within how much time a longer one brings enough; longer is a 408.
    pub body_read_timeout: Duration,
    /// The slowest that a long body may arrive, reckoned over [`Limits::body_read_timeout`].
    pub body_rate_bytes_per_second_min: u32,
    /// How long a request may take where the route names no time of its own; longer is a 504.
    pub request_timeout: Duration,
    /// How long open requests may take to end once the server stops.
    pub shutdown_timeout: Duration,
    /// How long the server reads on after its last answer, so that a client who is still sending can see that answer.
    pub linger_timeout: Duration,
    /// The smallest body in bytes that is compressed.
    pub compression_bytes_min: u16,
    /// HTTP/2: streams open at once on one connection.
    pub h2_streams_max: u32,
    /// HTTP/2: bytes of a request's decoded headers.
    pub h2_header_list_bytes_max: u32,
    /// HTTP/2: after how long without a frame the client is asked whether it is still there.
    pub h2_ping_interval: Duration,
    /// HTTP/2: how long the client may take to say so.
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
    /// What all answers, and the work on them, may hold.
    pub(crate) fn memory(&self) -> MemoryLimits {
        MemoryLimits { bytes_max: self.responses_bytes_max, wait_timeout: self.responses_wait_timeout }
    }

    /// The limits that `config` asks for.
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
