//! A minimal HTTP/1.1 client over one connection, so that a load chooses its source address, its pace and what it
//! leaves unread. It never follows a redirect, and never reconnects by itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};

/// The source address of the ordinary clients of a load.
pub(crate) const ORDINARY: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The options of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    /// The address that the server sees.
    pub(crate) address: Ipv4Addr,
    /// How long one read or write may take.
    pub(crate) patience: Duration,
    /// The socket's receive buffer in bytes, for a client that reads slowly on purpose.
    pub(crate) receive_buffer: Option<usize>,
}

impl Origin {
    /// Creates options with the system's buffers.
    pub(crate) fn new(address: Ipv4Addr, patience: Duration) -> Self {
        Self { address, patience, receive_buffer: None }
    }

    /// Connects to `port` on this machine.
    ///
    /// # Errors
    /// Those of the sockets.
    pub(crate) fn open(self, port: u16) -> Result<TcpStream> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        if let Some(bytes) = self.receive_buffer {
            sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        bind(&socket, &SocketAddrV4::new(self.address, 0))?;
        connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).context("connecting")?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        Ok(stream)
    }
}

/// A persistent connection.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    /// The last line, whose buffer is reused. With hundreds of other threads, a measurement would otherwise wait for
    /// the allocator.
    line: String,
}

/// The head of a response: everything before its body.
struct Head {
    status: u16,
    length: Option<u64>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Those of the sockets.
    pub(crate) fn open(origin: Origin, port: u16) -> Result<Self> {
        Ok(Self { stream: BufReader::new(origin.open(port)?), line: String::new() })
    }

    /// Sends a request, reads the whole response and returns the status.
    ///
    /// # Errors
    /// Those of the connection, and a response that is not HTTP.
    pub(crate) fn send(&mut self, request: &str) -> Result<u16> {
        self.send_into(request, &mut std::io::sink())
    }

    /// Like [`Connection::send`], and writes the body to `body`.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub(crate) fn send_into(&mut self, request: &str, body: &mut impl Write) -> Result<u16> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        let head = self.head()?;
        match head.length {
            Some(length) => {
                let read = std::io::copy(&mut self.stream.by_ref().take(length), body)?;
                ensure!(read == length, "the answer broke off after {read} of {length} bytes");
            }
            None => while self.chunk(body)? {},
        }
        Ok(head.status)
    }

    fn head(&mut self) -> Result<Head> {
        let (mut status, mut length, mut chunked) = (None, Some(0), false);
        loop {
            self.read_line()?;
            let line = self.line.as_str();
            if line.is_empty() {
                break;
            }
            match line.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = Some(value.trim().parse()?);
                }
                Some((name, _)) if name.eq_ignore_ascii_case("transfer-encoding") => chunked = true,
                Some(_) => {}
                None => status = line.split(' ').nth(1).and_then(|status| status.parse().ok()),
            }
        }
        let status = status.context("an answer begins with a status")?;
        Ok(Head { status, length: if chunked { None } else { length } })
    }

    /// Copies one chunk. Returns whether there was one.
    fn chunk(&mut self, body: &mut impl Write) -> Result<bool> {
        self.read_line()?;
        let length = u64::from_str_radix(self.line.split(';').next().unwrap_or_default().trim(), 16)?;
        let read = std::io::copy(&mut self.stream.by_ref().take(length), body)?;
        ensure!(read == length, "the answer broke off in a chunk");
        self.read_line()?;
        Ok(length > 0)
    }

    fn read_line(&mut self) -> Result<()> {
        self.line.clear();
        if self.stream.read_line(&mut self.line)? == 0 {
            bail!("the server closed the connection");
        }
        self.line.truncate(self.line.trim_end_matches(['\r', '\n']).len());
        Ok(())
    }
}

/// Returns a `GET` request.
pub(crate) fn get(path: &str) -> String {
    with_method("GET", path)
}

/// Returns a request without a body.
pub(crate) fn with_method(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
}

/// Returns the same request with an access token.
pub(crate) fn with_token(request: &str, token: &str) -> String {
    request.replacen("\r\n", &format!("\r\nAuthorization: Bearer {token}\r\n"), 1)
}

/// Returns a request with a JSON body.
pub(crate) fn with_json(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Returns a query value in which everything except letters and digits is encoded.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Returns what a client reads from these bytes.
    fn answered(bytes: &'static [u8]) -> Result<(u16, Vec<u8>)> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let server = std::thread::spawn(move || listener.accept().unwrap().0.write_all(bytes).unwrap());
        let mut connection = Connection::open(Origin::new(ORDINARY, Duration::from_secs(5)), port)?;
        let mut body = Vec::new();
        let status = connection.send_into("", &mut body);
        server.join().unwrap();
        Ok((status?, body))
    }

    #[test]
    fn reads_both_kinds_of_bodies() {
        let (status, body) = answered(b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nabc").unwrap();
        assert_eq!((status, body.as_slice()), (201, &b"abc"[..]));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        assert_eq!(answered(chunked).unwrap().1, b"abcd");
    }

    #[test]
    fn notices_a_body_that_breaks_off() {
        let error = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").unwrap_err().to_string();
        assert!(error.contains("broke off"), "{error}");
    }

    #[test]
    fn encodes_a_query() {
        assert_eq!(encoded("a = '%é'"), "a%20%3D%20%27%25%C3%A9%27");
    }
}
