//! Closing clients where it can hang nobody.

use std::{sync::mpsc, thread, time::Duration};

/// Closes a client on a thread of its own: to close a consumer takes tenths of a second at best,
/// and was seen to hang where the coordinator was gone. Disconnects the receiver when done.
pub(super) fn close_aside<T: Send + 'static>(what: &'static str, client: T) -> mpsc::Receiver<()> {
    let (done, closed) = mpsc::channel::<()>();
    let closing = thread::Builder::new().name("kafka-close".into()).spawn(move || {
        drop(client);
        drop(done);
    });
    if let Err(error) = closing {
        // The closure was dropped with the client in it, so the client is closed nevertheless.
        tracing::warn!(target: "kafka", %error, "no thread to close the {what} on");
    }
    closed
}

/// Closes a client like [`close_aside`], waiting at most `within` for it.
pub(super) fn close_within<T: Send + 'static>(what: &'static str, client: T, within: Duration) {
    if close_aside(what, client).recv_timeout(within) == Err(mpsc::RecvTimeoutError::Timeout) {
        tracing::warn!(target: "kafka", "the {what} did not close within {within:?}; the broker will notice");
    }
}
