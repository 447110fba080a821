//! The accept loop: limits on connections and headers, and a graceful end.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::{Guard, Sources, router};

#[cfg(test)]
mod tests;

const HEADERS: usize = 64;
/// Bytes of request line and headers.
const BUFFER: usize = 32 * 1024;

/// What clients may take of the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; more wait in the system's queue.
    pub connections: usize,
    /// How long a client may take to send its headers, and a kept connection may be silent.
    pub header_time: Duration,
    /// How long a connection may last. Who does not take an answer would else hold its connection
    /// for ever; who goes on asking opens a new one.
    pub connection_time: Duration,
    /// How long requests in progress may go on once the server is asked to stop, or their connection
    /// has had its time.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            header_time: Duration::from_secs(15),
            connection_time: Duration::from_secs(300),
            grace: Duration::from_secs(5),
        }
    }
}

/// Serves until `shutdown` resolves and the requests in progress are answered, or have had their
/// time.
pub async fn serve(
    listener: TcpListener,
    sources: Sources,
    guard: Guard,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let router = router(sources, guard);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &slots) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, slot) = accepted;
        let (router, stopping) = (router.clone(), stopping.clone());
        connections.spawn(async move {
            converse(stream, router, limits, stopping).await;
            drop(slot);
        });
    }
    drop(listener);
    drop(stop);
    let answered = async { while connections.join_next().await.is_some() {} };
    // Who is cut off here was told to reconnect by the closed connection.
    let _ = tokio::time::timeout(limits.grace, answered).await;
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
    loop {
        let slot = slots.clone().acquire_owned().await.expect("nobody closes the semaphore");
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            // The client went away before it was let in.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection; trying again in a second");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, router: Router, limits: Limits, mut stopping: watch::Receiver<()>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_headers(HEADERS)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        outcome = connection.as_mut() => Some(outcome),
        // The sender never sends: it is dropped.
        _ = stopping.changed() => None,
        () = tokio::time::sleep(limits.connection_time) => None,
    };
    let outcome = match ended {
        Some(outcome) => Ok(outcome),
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(limits.grace, connection).await
        }
    };
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(target: "http", %error, "an HTTP connection broke"),
        Err(_) => tracing::debug!(target: "http", "an HTTP connection was cut off: its answer was not taken"),
    }
}
