//! A hand-written web server for a registry's folder that misbehaves for some files.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// What the server does for the files for which it misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Serves the file correctly.
    Serve,
    /// Accepts the request and never responds.
    Silent,
    /// Sends a byte now and then: never times out, never finishes.
    Drip,
    /// Sends half of the file and closes the connection.
    Partial,
    /// Responds with this status.
    Status(u16),
    /// Redirects to another server, which has the file.
    RedirectElsewhere,
    /// Redirects to another path on the same server, which serves the file.
    RedirectWithin,
    /// Redirects to itself.
    RedirectForEver,
    /// Sends data without end.
    Endless,
}

/// The server. It runs until the test process ends, unless the ending is `none`.
pub(crate) struct Misbehaving {
    pub(crate) url: String,
}

impl Misbehaving {
    /// Serves `folder`, and misbehaves for files whose path has this ending. With the ending `none`, it stops at
    /// once.
    pub(crate) fn new(folder: &Path, ending: &str, behaviour: Behaviour) -> Misbehaving {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (folder, ending) = (folder.to_owned(), ending.to_owned());
        if ending != "none" {
            thread::spawn(move || serve(&listener, &folder, &ending, behaviour));
        }
        Misbehaving { url }
    }
}

fn serve(listener: &TcpListener, folder: &Path, ending: &str, behaviour: Behaviour) {
    for stream in listener.incoming() {
        let (folder, ending) = (folder.to_owned(), ending.to_owned());
        // A client may close the connection early.
        thread::spawn(move || drop(answer(stream.unwrap(), &folder, &ending, behaviour)));
    }
}

fn answer(mut stream: TcpStream, folder: &Path, ending: &str, behaviour: Behaviour) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
    let body = fs::read(file_of(folder, &path));
    let behaviour = if path.ends_with(ending) { behaviour } else { Behaviour::Serve };
    let head = |status: &str, length: usize| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n")
    };
    let redirect = |to: String| format!("{}location: {to}\r\n\r\n", head("302 Found", 0));
    match (behaviour, body) {
        (Behaviour::Status(status), _) => write!(stream, "{}\r\n", head(&format!("{status} So"), 0)),
        (Behaviour::RedirectElsewhere, _) if !path.starts_with("/elsewhere") => {
            let other = stream.local_addr()?.port();
            stream.write_all(redirect(format!("http://localhost:{other}/elsewhere{path}")).as_bytes())
        }
        (Behaviour::RedirectWithin, _) if !path.starts_with("/elsewhere") => {
            stream.write_all(redirect(format!("/elsewhere{path}")).as_bytes())
        }
        (Behaviour::RedirectForEver, _) => stream.write_all(redirect(path).as_bytes()),
        (Behaviour::Silent, _) => {
            wait_until_hung_up(&mut stream, b"");
            Ok(())
        }
        (Behaviour::Drip, _) => {
            write!(stream, "{}\r\n", head("200 OK", 100_000))?;
            wait_until_hung_up(&mut stream, b" ");
            Ok(())
        }
        (Behaviour::Partial, Ok(body)) => {
            write!(stream, "{}\r\n", head("200 OK", body.len()))?;
            stream.write_all(&body[..body.len() / 2])
        }
        (Behaviour::Endless, _) => {
            write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[b' '; 65_536])?;
            }
        }
        (_, Ok(body)) => {
            write!(stream, "{}\r\n", head("200 OK", body.len()))?;
            stream.write_all(&body)
        }
        (_, Err(_)) => write!(stream, "{}\r\n", head("404 Not Found", 0)),
    }
}

fn file_of(folder: &Path, path: &str) -> PathBuf {
    folder.join(path.trim_start_matches("/elsewhere").trim_start_matches('/'))
}

/// Sends `bytes` every tenth of a second until the client disconnects.
fn wait_until_hung_up(stream: &mut TcpStream, bytes: &[u8]) {
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut byte = [0];
    loop {
        let is_gone = std::io::Read::read(stream, &mut byte).is_ok_and(|count| count == 0);
        if is_gone || stream.write_all(bytes).is_err() {
            return;
        }
    }
}
