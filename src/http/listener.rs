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

use super::{Hosts, Sources, router};

/// Connections at a time; more wait in the system's queue.
const CONNECTIONS: usize = 256;
/// How long a client may take to send its headers, and a kept connection may be silent.
const HEADER_TIME: Duration = Duration::from_secs(15);
const HEADERS: usize = 64;
/// Bytes of request line and headers.
const BUFFER: usize = 32 * 1024;
/// How long requests in progress may go on once the server is asked to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until `shutdown` resolves and the requests in progress are answered, or have had their
/// time.
///
/// # Errors
/// If the listener has no address.
pub async fn serve(listener: TcpListener, sources: Sources, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let router = router(sources, Hosts::for_listener(listener.local_addr()?));
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
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
            converse(stream, router, stopping).await;
            drop(slot);
        });
    }
    drop(listener);
    drop(stop);
    let answered = async { while connections.join_next().await.is_some() {} };
    // Who is cut off here was told to reconnect by the closed connection.
    let _ = tokio::time::timeout(GRACE, answered).await;
    Ok(())
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

async fn converse(stream: TcpStream, router: Router, mut stopping: watch::Receiver<()>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(HEADERS)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        // The sender never sends: it is dropped.
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "an HTTP connection broke");
    }
}
