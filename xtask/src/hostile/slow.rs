//! Clients that read or write as slowly as they can: HTTP/1 at a few hundred bytes per second, HTTP/2 with a window of
//! 0, bodies that stop before their end. Each loop ends soon after it is told to stop.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::Target;
use crate::raw_http::{Origin, get};

/// The duration of one read before the loop checks whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Bytes of a slow client's receive buffer; the system doubles it.
const RECEIVE_BUFFER: usize = 4 << 10;
/// Bytes that a slow reader reads at a time.
const SIP_BYTES: usize = 200;
/// Streams of one HTTP/2 connection.
const STREAMS: u32 = 40;
/// The maximum body size that is sent, minus its last byte.
const BODY_BYTES: usize = (10 << 20) - 1;

fn origin(from: Ipv4Addr) -> Origin {
    Origin { receive_buffer: Some(RECEIVE_BUFFER), ..Origin::new(from, LOOK_EVERY) }
}

/// Requests a large list and reads 800 bytes of it per second, until the server closes the connection.
pub(super) fn read_slowly(target: &Target<'_>, from: Ipv4Addr, path: &str) -> Result<()> {
    let mut stream = origin(from).open(target.port)?;
    stream.write_all(get(path).as_bytes())?;
    let mut sip = [0; SIP_BYTES];
    while !target.stopped() {
        match stream.read(&mut sip) {
            Ok(0) => break,
            Ok(_) => std::thread::sleep(LOOK_EVERY),
            Err(error) if is_wait(&error) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

/// Sends a body except its last byte, and waits.
pub(super) fn write_slowly(target: &Target<'_>, from: Ipv4Addr, path: &str) -> Result<()> {
    let mut stream = Origin::new(from, LOOK_EVERY).open(target.port)?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        BODY_BYTES + 1
    );
    stream.write_all(head.as_bytes())?;
    let piece = vec![b' '; 64 << 10];
    let mut left = BODY_BYTES;
    while left > 0 && !target.stopped() {
        match stream.write(&piece[..piece.len().min(left)]) {
            Ok(written) => left -= written,
            Err(error) if is_wait(&error) => {}
            Err(_) => return Ok(()),
        }
    }
    wait_for_the_end(target, &mut stream);
    Ok(())
}

/// Opens [`STREAMS`] streams with a window of 0, each for the same list, and reads none of them.
pub(super) fn stall_streams(target: &Target<'_>, from: Ipv4Addr, path: &str) -> Result<()> {
    let mut stream = origin(from).open(target.port)?;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS with INITIAL_WINDOW_SIZE (4) = 0.
    bytes.extend(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    for number in 0..STREAMS {
        // END_HEADERS and END_STREAM.
        bytes.extend(frame(1, 0x5, number * 2 + 1, &header_block(path)));
    }
    // The acknowledgement of the server's own settings. The server accepts it early.
    bytes.extend(frame(4, 1, 0, &[]));
    stream.write_all(&bytes)?;
    wait_for_the_end(target, &mut stream);
    Ok(())
}

/// Returns one HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame of a few bytes").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Returns the headers of a `GET`: indexed if HPACK's table has them, otherwise as literals without Huffman coding.
fn header_block(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04];
    string(&mut block, path);
    block.push(0x01);
    string(&mut block, "127.0.0.1");
    block
}

/// Appends a string's length, as an integer with a prefix of seven bits, and its bytes.
fn string(block: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 0x7f {
        block.push(u8::try_from(length).expect("below 127"));
    } else {
        block.push(0x7f);
        length -= 0x7f;
        while length >= 0x80 {
            block.push(u8::try_from(length % 0x80).expect("below 128") | 0x80);
            length /= 0x80;
        }
        block.push(u8::try_from(length).expect("below 128"));
    }
    block.extend(text.as_bytes());
}

/// Reads until the server closes the connection, or the attack ends.
fn wait_for_the_end(target: &Target<'_>, stream: &mut TcpStream) {
    let mut rest = [0; 4 << 10];
    while !target.stopped() {
        match stream.read(&mut rest) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if is_wait(&error) => {}
            Err(_) => break,
        }
    }
}

fn is_wait(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// Checks that the server responds on such a connection at all, by the status of its first response.
///
/// # Errors
/// When there is none within ten seconds.
pub(super) fn first_frame_of_an_answer(port: u16, from: Ipv4Addr, path: &str) -> Result<()> {
    let mut stream = Origin::new(from, Duration::from_secs(10)).open(port)?;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(1, 0x5, 1, &header_block(path)));
    stream.write_all(&bytes)?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload)?;
        match head[3] {
            // HEADERS of stream 1; 0x88 is `:status 200` in HPACK's table.
            1 if payload.first() == Some(&0x88) => return Ok(()),
            1 => bail!("the first answer over HTTP/2 is no 200: {payload:?}"),
            3 | 7 => bail!("the server ended the stream or the connection: frame {}", head[3]),
            _ => {}
        }
    }
    bail!("no answer over HTTP/2")
}
