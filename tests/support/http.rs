//! Questions to an HTTP server on this machine.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long it may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Status and body that a server on this machine gives for a path.
pub fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    get_with(address, path, "")
}

/// Like [`get`], with further headers, each with its line end.
pub fn get_with(address: SocketAddr, path: &str, headers: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    // The older version of the protocol ends the body by closing the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok((status, body.to_owned()))
}
