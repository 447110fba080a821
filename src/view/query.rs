//! Questions about one account: only the worker that owns it can answer, and nobody else knows
//! which one that is.

use std::{
    sync::{Arc, mpsc as queue},
    time::Duration,
};

use tokio::sync::mpsc;

use crate::{engine::Explanation, model::Timestamp};

/// Questions that may wait for one worker; it takes them once per turn of its loop.
const WAITING: usize = 64;

/// A question to a worker. It answers with [`Self::answer`], or drops the question if it does not
/// have the account.
#[derive(Debug)]
pub struct AccountQuery {
    pub account: Arc<str>,
    /// The moment to explain; nothing stands for the worker's own now.
    pub at: Option<Timestamp>,
    reply: mpsc::Sender<Explanation>,
}

impl AccountQuery {
    /// Answers the question. Whoever asked may have given up by now.
    pub fn answer(self, explanation: Explanation) {
        // Full means that another worker answered first, closed that nobody waits any more.
        let _ = self.reply.try_send(explanation);
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AskError {
    #[error("no worker answered within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("a worker has ended, or has too many questions waiting")]
    Unavailable,
}

/// Brings questions to the workers.
#[derive(Clone, Debug)]
pub struct QueryRouter {
    workers: Arc<[queue::SyncSender<AccountQuery>]>,
}

impl QueryRouter {
    /// A router, and for each of `workers` the end at which its questions arrive.
    pub fn new(workers: usize) -> (Self, Vec<queue::Receiver<AccountQuery>>) {
        let (senders, receivers): (Vec<_>, _) = (0..workers).map(|_| queue::sync_channel(WAITING)).unzip();
        (Self { workers: senders.into() }, receivers)
    }

    /// Asks all workers and takes the first answer; nothing if none of them has the account.
    pub async fn ask(
        &self,
        account: Arc<str>,
        at: Option<Timestamp>,
        deadline: Duration,
    ) -> Result<Option<Explanation>, AskError> {
        let (reply, mut answers) = mpsc::channel(1);
        let mut unasked = false;
        for worker in self.workers.iter() {
            let query = AccountQuery { account: account.clone(), at, reply: reply.clone() };
            unasked |= worker.try_send(query).is_err();
        }
        // From here on the workers alone hold the reply: once all have dropped it, nobody has the account.
        drop(reply);
        match tokio::time::timeout(deadline, answers.recv()).await {
            Ok(None) if unasked => Err(AskError::Unavailable),
            Ok(answer) => Ok(answer),
            Err(_) => Err(AskError::TimedOut(deadline)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(1);

    fn explanation(account: &str) -> Explanation {
        Explanation {
            account: account.into(),
            at: Timestamp::EARLIEST,
            tier: None,
            since: None,
            segments: Vec::new(),
            suppressed_by: None,
            intent: 0.0,
            fit: None,
            contributions: Vec::new(),
            next_change_at: None,
            settled: Timestamp::EARLIEST,
            sequence: None,
        }
    }

    /// A worker that has one account and answers until the router is gone.
    fn worker(questions: queue::Receiver<AccountQuery>, has: &'static str) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || {
            for question in questions {
                if &*question.account == has {
                    question.answer(explanation(has));
                }
            }
        })
    }

    #[tokio::test]
    async fn the_worker_that_has_the_account_answers() {
        let (router, questions) = QueryRouter::new(2);
        let workers: Vec<_> = questions.into_iter().zip(["acme", "globex"]).map(|(q, has)| worker(q, has)).collect();
        for account in ["acme", "globex"] {
            let answer = router.ask(account.into(), None, LONG).await;
            assert_eq!(answer.unwrap().unwrap().account.as_ref(), account);
        }
        assert_eq!(router.ask("initech".into(), None, LONG).await, Ok(None));
        drop(router);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    }

    #[tokio::test]
    async fn a_worker_that_does_not_come_round_is_waited_for_only_so_long() {
        let (router, _questions) = QueryRouter::new(1);
        assert_eq!(router.ask("acme".into(), None, SHORT).await, Err(AskError::TimedOut(SHORT)));
    }

    #[tokio::test]
    async fn a_worker_that_has_ended_makes_not_found_uncertain() {
        let (router, mut questions) = QueryRouter::new(2);
        questions.pop();
        let worker = worker(questions.pop().unwrap(), "acme");
        assert!(router.ask("acme".into(), None, LONG).await.unwrap().is_some());
        assert_eq!(router.ask("globex".into(), None, LONG).await, Err(AskError::Unavailable));
        drop(router);
        worker.join().unwrap();
    }

    #[tokio::test]
    async fn more_questions_than_may_wait_are_turned_away() {
        let (router, _questions) = QueryRouter::new(1);
        for _ in 0..WAITING {
            assert_eq!(router.ask("acme".into(), None, SHORT).await, Err(AskError::TimedOut(SHORT)));
        }
        assert_eq!(router.ask("acme".into(), None, LONG).await, Err(AskError::Unavailable));
    }
}
