//! All workers of a process.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{Clock, Publisher, Worker, WorkerSettings};
use crate::{
    log::{Log, LogError},
    model::Model,
    telemetry::Metrics,
    view::{AccountQuery, Status, View},
};

/// Between two attempts to reach the log at the start.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// What all workers share.
#[derive(Clone)]
pub struct Shared {
    pub model: Arc<Model>,
    pub settings: Arc<WorkerSettings>,
    pub view: Arc<View>,
    pub metrics: Arc<Metrics>,
    pub status: Arc<Status>,
}

/// The running workers. Dropping it asks them to stop but does not wait.
pub struct Service {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    ended: Receiver<Ended>,
}

/// How a worker ended.
#[derive(Debug)]
pub struct Ended {
    pub worker: usize,
    pub outcome: Result<(), LogError>,
}

impl Service {
    /// Starts a worker for each receiver of questions. Each connects its own log, again and again
    /// until that succeeds.
    pub fn start<L, C>(
        shared: &Shared,
        questions: Vec<Receiver<AccountQuery>>,
        clock: &C,
        connect: impl Fn(usize) -> Result<L, LogError> + Clone + Send + 'static,
    ) -> Self
    where
        L: Log + 'static,
        C: Clock + Clone + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, ended) = channel();
        let start = |(worker, questions)| {
            let Shared { model, settings, view, metrics, status } = shared.clone();
            let publisher = Publisher::new(view, metrics, status, worker, questions);
            let start = Start { worker, clock: clock.clone(), settings, model, publisher };
            start.spawn(connect.clone(), stop.clone(), sender.clone())
        };
        let threads = questions.into_iter().enumerate().map(start).collect();
        Self { stop, threads, ended }
    }

    /// Asks the workers to commit, leave the group and end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits until a worker has ended, at most for `wait`.
    pub fn wait(&self, wait: Duration) -> Option<Ended> {
        self.ended.recv_timeout(wait).ok()
    }

    /// Whether all workers have ended.
    pub fn is_done(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Start<C> {
    worker: usize,
    clock: C,
    settings: Arc<WorkerSettings>,
    model: Arc<Model>,
    publisher: Publisher,
}

impl<C: Clock + 'static> Start<C> {
    fn spawn<L: Log + 'static>(
        self,
        connect: impl Fn(usize) -> Result<L, LogError> + Send + 'static,
        stop: Arc<AtomicBool>,
        ended: Sender<Ended>,
    ) -> JoinHandle<()> {
        let worker = self.worker;
        // Named so that tools can tell where CPU time goes.
        let thread = std::thread::Builder::new().name(format!("worker-{worker}"));
        let work = move || {
            // A panic ends the process through the same door as a refusal; memory is not trusted after it.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.run(connect, stop))).unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("of an unknown kind");
                Err(LogError::Refused(format!("worker {worker} panicked: {text}")))
            });
            // Nobody listens when the process is about to end.
            let _ = ended.send(Ended { worker, outcome });
        };
        thread.spawn(work).expect("the system has a thread to give")
    }

    fn run<L: Log>(
        self,
        connect: impl Fn(usize) -> Result<L, LogError>,
        stop: Arc<AtomicBool>,
    ) -> Result<(), LogError> {
        let log = loop {
            self.publisher.connecting();
            match connect(self.worker) {
                Ok(log) => break log,
                Err(LogError::Passing(error)) => tracing::warn!(target: "worker", "no connection yet: {error}"),
                Err(refused) => return Err(refused),
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            std::thread::park_timeout(RECONNECT_AFTER);
        };
        Worker::new(log, self.clock, self.settings, self.model, self.publisher, stop).run()
    }
}
