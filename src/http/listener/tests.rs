//! The limits of the accept loop, from the other end of a real connection.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
    task::JoinHandle,
};

use super::{super::tests::Server, *};

const ASK: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A server on a port of its own.
struct Listening {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Listening {
    async fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { stopped.await.unwrap_or_default() };
        let guard = Guard::new(address, None);
        let serving = tokio::spawn(serve(listener, Server::running().sources, guard, limits, shutdown));
        Self { address, stop, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the server closes the connection.
    async fn converse(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A server that closes before it has read everything resets the connection after its answer.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Asks on a connection that stays open.
async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(ASK).await.unwrap();
    first_line(stream).await
}

/// The beginning of an answer; empty if the server closed the connection.
async fn first_line(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 12];
    let count = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

#[tokio::test]
async fn a_request_has_a_size() {
    let server = Listening::start(Limits::default()).await;
    let ask = async |head: &str, body: &str| {
        server.converse(format!("GET /livez{head}Host: localhost\r\nConnection: close\r\n{body}").as_bytes()).await
    };
    let answer = ask(" HTTP/1.1\r\n", "\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let answer = ask(" HTTP/1.1\r\n", &("x: y\r\n".repeat(100) + "\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "many headers: {answer}");
    let answer = ask(" HTTP/1.1\r\n", &format!("x: {}\r\n\r\n", "y".repeat(100_000))).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "long headers: {answer}");
    let answer = ask(&format!("?{} HTTP/1.1\r\n", "y".repeat(100_000)), "\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 414 ") || answer.starts_with("HTTP/1.1 431 "), "long address: {answer}");
    let answer = ask(" HTTP/1.1\r\n", "Content-Length: 20000\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "long body: {answer}");
    let answer = ask(" HTTP/1.1\r\n", "Transfer-Encoding: chunked\r\n\r\nfffffff\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "a body without a known length is not waited for: {answer}");
}

#[tokio::test]
async fn headers_that_do_not_come_are_not_waited_for() {
    let server = Listening::start(Limits { header_time: Duration::from_millis(30), ..Limits::default() }).await;
    let answer = server.converse(b"GET /livez HTTP/1.1\r\nHost: loc").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(server.converse(b"").await, "", "silence is closed too");
}

#[tokio::test]
async fn a_connection_ends_however_it_is_used() {
    let brief = Duration::from_millis(50);
    let server = Listening::start(Limits { connection_time: brief, grace: brief, ..Limits::default() }).await;
    let answer = server.converse(ASK).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(server.converse(b"GET /").await, "");
}

#[tokio::test]
async fn one_connection_more_than_allowed_waits_for_its_turn() {
    let server = Listening::start(Limits { connections: 1, ..Limits::default() }).await;
    let mut first = server.connect().await;
    assert_eq!(ask(&mut first).await, "HTTP/1.1 200");
    let mut second = server.connect().await;
    second.write_all(ASK).await.unwrap();
    let unanswered = tokio::time::timeout(Duration::from_millis(50), second.readable()).await;
    assert!(unanswered.is_err(), "the only slot is taken");
    drop(first);
    assert_eq!(first_line(&mut second).await, "HTTP/1.1 200");
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let server = Listening::start(Limits::default()).await;
    let mut idle = server.connect().await;
    assert_eq!(ask(&mut idle).await, "HTTP/1.1 200");
    server.stop.send(()).unwrap();
    server.serving.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}
