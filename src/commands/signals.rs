//! SIGTERM and SIGINT.

use std::{
    process::exit,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Context;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

/// The signals that tell a process to stop. Nobody else ends the first process of a container, which does not
/// even die of a signal that it does not listen for.
pub struct Signals(Arc<State>);

#[derive(Default)]
struct State {
    told: AtomicBool,
    heeded: AtomicBool,
}

impl Signals {
    /// Listens from now on. Until [`Self::heed`] a signal ends the process at once, as one that has nothing
    /// to bring to an end: it may wait for a broker that does not answer.
    pub fn listen(runtime: &Runtime) -> anyhow::Result<Self> {
        let state = Arc::new(State::default());
        let _entered = runtime.enter();
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            let signal = signal(kind).context("listening for signals")?;
            runtime.spawn(take(signal, state.clone()));
        }
        Ok(Self(state))
    }

    /// From now on the caller looks at [`Self::told`]. Only a second signal ends the process at once.
    pub fn heed(&self) {
        self.0.heeded.store(true, Ordering::SeqCst);
    }

    /// Whether there was a signal.
    pub fn told(&self) -> bool {
        self.0.told.load(Ordering::SeqCst)
    }
}

async fn take(mut signal: Signal, state: Arc<State>) {
    while signal.recv().await.is_some() {
        if state.told.swap(true, Ordering::SeqCst) {
            // What is not committed is restored by the next start.
            exit(130);
        }
        if !state.heeded.load(Ordering::SeqCst) {
            tracing::info!(target: "start", "stopped");
            exit(0);
        }
    }
}
