//! What `run` and `demo` have in common: workers, HTTP, and an orderly end.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{net::TcpListener, runtime::Runtime, sync::oneshot};

use super::{Failure, signals::Signals};
use crate::{
    http::{self, Guard, Limits, Sources},
    log::{Log, LogError},
    model::Model,
    runtime::{Clock, Ended, Service, Shared, WorkerSettings},
    settings::Secret,
    telemetry::{Metrics, Vocabulary},
    view::{QueryRouter, Status, View},
    wire::{dead_letter::Fault, event::Ignored},
};

/// A worker whose loop has not come round for this long is stuck: longer than the longest commit.
const STALL_LIMIT: Duration = Duration::from_secs(120);
/// What the workers may take to commit and leave the group.
const STOP_WITHIN: Duration = Duration::from_secs(25);
/// Between two looks at what the workers do.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A process that can be told to stop, and is to run the service.
pub struct Host {
    runtime: Runtime,
    signals: Signals,
}

/// Workers and their readers, running.
pub struct Running {
    service: Service,
    host: Host,
    http: Option<oneshot::Sender<()>>,
    /// Where HTTP is served.
    pub address: SocketAddr,
}

/// Where HTTP is served, and to whom.
pub struct Door {
    pub listener: std::net::TcpListener,
    /// What a request must bring.
    pub token: Option<Secret>,
}

impl Host {
    /// From now on SIGTERM and SIGINT end the process: at once, until the service runs.
    pub fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let signals = Signals::listen(&runtime)?;
        Ok(Self { runtime, signals })
    }

    /// Starts `workers` workers and serves HTTP at the door.
    pub fn start<L, C>(
        self,
        workers: usize,
        model: Arc<Model>,
        settings: WorkerSettings,
        clock: &C,
        door: Door,
        connect: impl Fn(usize) -> Result<L, LogError> + Clone + Send + 'static,
    ) -> anyhow::Result<Running>
    where
        L: Log + 'static,
        C: Clock + Clone + 'static,
    {
        let (queries, questions) = QueryRouter::new(workers);
        let shared = Shared {
            metrics: Arc::new(metrics(&model)?),
            model,
            settings: Arc::new(settings),
            view: Arc::new(View::new()),
            status: Arc::new(Status::new(workers, STALL_LIMIT, Instant::now())),
        };
        let address = door.listener.local_addr()?;
        let http = serve(&self.runtime, &shared, queries, door)?;
        self.signals.heed();
        let service = Service::start(&shared, questions, clock, connect);
        Ok(Running { service, host: self, http: Some(http), address })
    }
}

fn metrics(model: &Model) -> anyhow::Result<Metrics> {
    let ignored = [Ignored::Rule, Ignored::NoSignal].map(Ignored::name);
    let dead_letters = Fault::ALL.map(Fault::name);
    Ok(Metrics::new(Vocabulary { model, ignored: &ignored, dead_letters: &dead_letters })?)
}

fn serve(
    runtime: &Runtime,
    shared: &Shared,
    queries: QueryRouter,
    Door { listener, token }: Door,
) -> anyhow::Result<oneshot::Sender<()>> {
    let Shared { model, view, status, metrics, .. } = shared.clone();
    let sources = Sources { model, view, status, metrics, queries };
    let guard = Guard::new(listener.local_addr()?, token.as_ref().map(Secret::expose));
    listener.set_nonblocking(true)?;
    let listener = {
        let _entered = runtime.enter();
        TcpListener::from_std(listener).context("serving HTTP")?
    };
    let (close, closed) = oneshot::channel();
    runtime.spawn(async move {
        let closed = async { drop(closed.await) };
        http::serve(listener, sources, guard, Limits::default(), closed).await;
    });
    Ok(close)
}

impl Running {
    /// Waits until the workers have ended: by themselves, on SIGTERM or SIGINT, or when `until`
    /// says so. A second signal ends the process at once.
    pub fn wait(mut self, mut until: impl FnMut() -> bool) -> Result<(), Failure> {
        let outcome = loop {
            if let Some(Ended { worker, outcome }) = self.service.wait(LOOK_EVERY) {
                break outcome.map_err(|error| refusal(worker, &error));
            }
            if self.host.signals.told() || until() {
                break Ok(());
            }
        };
        let stopped = self.stop();
        outcome.and(stopped)
    }

    fn stop(&mut self) -> Result<(), Failure> {
        self.service.stop();
        let asked = Instant::now();
        let mut outcome = Ok(());
        loop {
            // Before what they said: nobody says anything after all have ended.
            let done = self.service.is_done();
            let wait = if done { Duration::ZERO } else { LOOK_EVERY };
            while let Some(Ended { worker, outcome: ended }) = self.service.wait(wait) {
                outcome = outcome.and(ended.map_err(|error| refusal(worker, &error)));
            }
            if done {
                break;
            }
            if asked.elapsed() > STOP_WITHIN {
                let limit = STOP_WITHIN.as_secs();
                let late = anyhow::anyhow!("the workers did not end within {limit} s; the next start restores");
                return outcome.and(Err(late.into()));
            }
        }
        drop(self.http.take());
        outcome
    }
}

fn refusal(worker: usize, error: &LogError) -> Failure {
    Failure::refused(anyhow::anyhow!("worker {worker}: {error}"))
}
