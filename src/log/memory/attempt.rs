//! One transaction of a member, and what can go wrong with it, step by step.

use super::{
    MemoryLog,
    transactions::{Producer, Refusal, Request},
};
use crate::{
    drill::{self, Rule},
    log::{
        LogError, Output, Progress,
        protocol::{Attempt, Failure, Remedy},
    },
};

/// The steps of a commit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    Begin,
    Drain,
    Prove,
    Offsets,
    End,
    /// The commit is acknowledged.
    Done,
}

impl Step {
    /// All steps, in their order.
    pub const ALL: [Self; 6] = [Self::Begin, Self::Drain, Self::Prove, Self::Offsets, Self::End, Self::Done];
}

/// A fault, at a step of whoever commits next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fault {
    pub at: Step,
    pub what: What,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    /// The process dies; half of what it was about to write is written.
    Crash,
    /// The process stands still, and does all the rest after so many milliseconds.
    Stop { millis: i64 },
    /// The group drops the member.
    Expel,
    /// The coordinator gives up on the transaction.
    Expire,
    /// A broker refuses; the transaction can be aborted.
    Refuse,
    /// No reply comes, whether the request was carried out or not.
    Lost { done: bool },
    /// No reply comes, and the request arrives after so many milliseconds.
    Delay { millis: i64 },
    /// The request is repeated, and its first copy arrives after so many milliseconds.
    Repeat { millis: i64 },
}

/// What ends a worker in [`LogError::Refused`] when it has died on purpose.
pub const DIED: &str = "the process died";

pub(super) struct MemoryAttempt<'a> {
    log: &'a mut MemoryLog,
    producer: Producer,
    in_flight: Vec<Output>,
    in_doubt: bool,
    /// Once the process stands still: what it will ask for when it goes on, and when.
    stopped: Option<(i64, Vec<Request>)>,
}

impl<'a> MemoryAttempt<'a> {
    pub fn new(log: &'a mut MemoryLog) -> Self {
        let epoch = *log.epoch.get_or_insert_with(|| log.cluster.contents().transactions.start(&log.producer));
        let producer = Producer { name: log.producer.clone(), epoch };
        Self { log, producer, in_flight: Vec::new(), in_doubt: false, stopped: None }
    }

    /// Goes through a step that asks the brokers for these requests.
    fn step(&mut self, step: Step, mut requests: Vec<Request>) -> Result<(), Failure> {
        if let Some((_, later)) = &mut self.stopped {
            later.append(&mut requests);
            return Ok(());
        }
        let what = {
            let faults = &mut self.log.cluster.contents().faults;
            faults.iter().position(|fault| fault.at == step).map(|at| faults.remove(at).what)
        };
        match what {
            None => self.ask(requests),
            Some(What::Crash) => {
                requests.truncate(requests.len() / 2);
                let _ = self.ask(requests);
                Err(died())
            }
            Some(What::Stop { millis }) => {
                self.stopped = Some((millis, requests));
                Ok(())
            }
            Some(What::Expel) => {
                let member = self.log.member;
                self.log.cluster.contents().group.remove(member);
                self.ask(requests)
            }
            Some(What::Expire) => {
                self.log.cluster.contents().transactions.expire(&self.producer.name);
                self.ask(requests)
            }
            // What is acknowledged is not refused any more.
            Some(What::Refuse) if step == Step::Done => Ok(()),
            Some(What::Refuse) => Err(Failure::abort("a broker refused")),
            Some(What::Lost { done }) => {
                if done {
                    self.ask(requests)?;
                }
                Err(Failure::replace("no reply"))
            }
            Some(What::Delay { millis }) => {
                self.log.cluster.contents().transactions.send_late(millis, self.producer.clone(), requests);
                Err(Failure::replace("no reply"))
            }
            Some(What::Repeat { millis }) => {
                self.in_doubt = true;
                // Brokers know a batch of records that they have taken before by its number.
                let first = requests.iter().filter(|request| !matches!(request, Request::Append(_))).cloned().collect();
                self.log.cluster.contents().transactions.send_late(millis, self.producer.clone(), first);
                self.ask(requests)
            }
        }
    }

    fn ask(&mut self, requests: Vec<Request>) -> Result<(), Failure> {
        let mut contents = self.log.cluster.contents();
        let super::Contents { transactions, group, .. } = &mut *contents;
        for request in requests {
            transactions.serve(&self.producer, request, group).map_err(|refusal| match refusal {
                Refusal::Fenced => Failure::replace("fenced: the transaction timed out, or the name is in use"),
                Refusal::Generation => Failure::abort("the group has moved on to another generation"),
            })?;
        }
        Ok(())
    }
}

fn died() -> Failure {
    let error = LogError::Refused(DIED.into());
    Failure { remedy: Remedy::Replace, error }
}

impl Attempt for MemoryAttempt<'_> {
    type Proof = Option<u64>;

    fn begin(&mut self) -> Result<(), Failure> {
        self.step(Step::Begin, Vec::new())
    }

    fn send(&mut self, output: &Output) -> Result<(), Failure> {
        self.in_flight.push(output.clone());
        Ok(())
    }

    fn drain(&mut self) -> Result<(), Failure> {
        let requests = self.in_flight.drain(..).map(Request::Append).collect();
        self.step(Step::Drain, requests)
    }

    fn prove(&mut self, _progress: &[Progress]) -> Result<Option<u64>, Failure> {
        self.step(Step::Prove, Vec::new())?;
        let broken = drill::breaks(Rule::HeedLostAssignment);
        match self.log.generation {
            None if !broken => Err(Failure::abort("this worker is no member of the group any more")),
            generation => Ok(generation),
        }
    }

    fn add_offsets(&mut self, progress: &[Progress], generation: Option<u64>) -> Result<(), Failure> {
        let member = self.log.member;
        self.step(Step::Offsets, vec![Request::AddOffsets { progress: progress.to_vec(), member, generation }])
    }

    /// Commits what was acknowledged, as the brokers' protocol has it: a client that waits for the
    /// rest in here would hide that it was not drained.
    fn end(&mut self) -> Result<(), Failure> {
        self.step(Step::End, vec![Request::End { commit: true }])?;
        self.step(Step::Done, Vec::new())?;
        match self.stopped.take() {
            None => Ok(()),
            Some((millis, requests)) => {
                self.log.cluster.contents().transactions.send_late(millis, self.producer.clone(), requests);
                Err(died())
            }
        }
    }

    fn abort(&mut self) -> bool {
        self.ask(vec![Request::End { commit: false }]).is_ok()
    }

    fn in_doubt(&self) -> bool {
        self.in_doubt
    }
}
