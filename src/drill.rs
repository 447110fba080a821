//! Faults on purpose, for the tests of the promise: the process is killed or stopped at a named point,
//! or one rule of safety is broken, and a test must notice. A release build has nothing of it.
//!
//! `TIDEMARK_DRILL_KILL=after_drain:3` kills the process when it gets to that point for the third
//! time; `TIDEMARK_DRILL_STOP` stops it there, as SIGSTOP does, until somebody sends SIGCONT;
//! `TIDEMARK_DRILL_BREAK=restore_to_the_end` breaks that rule for as long as it lives.

/// Where a process can be killed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Point {
    /// A batch is decided, nothing of it is written.
    AfterDecide,
    /// Half of the records of a transaction are handed over.
    MidProduce,
    /// All are acknowledged, the offsets are not sent.
    AfterDrain,
    /// The offsets are sent as well.
    AfterOffsets,
    /// The commit is on its way, its outcome not known.
    DuringCommit,
    /// The commit is acknowledged, and no reader of this process has seen what it holds.
    BeforePublish,
    /// Some of the pages that are due are taken for the next transaction.
    MidSweep,
    /// Some of the records of a partition's tables are read.
    MidRestore,
}

impl Point {
    /// All points, in the order in which a batch gets to them.
    pub const ALL: [Self; 8] = [
        Self::MidRestore,
        Self::MidSweep,
        Self::AfterDecide,
        Self::MidProduce,
        Self::AfterDrain,
        Self::AfterOffsets,
        Self::DuringCommit,
        Self::BeforePublish,
    ];

    /// Its name in `TIDEMARK_DRILL_KILL`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AfterDecide => "after_decide",
            Self::MidProduce => "mid_produce",
            Self::AfterDrain => "after_drain",
            Self::AfterOffsets => "after_offsets",
            Self::DuringCommit => "during_commit",
            Self::BeforePublish => "before_publish",
            Self::MidSweep => "mid_sweep",
            Self::MidRestore => "mid_restore",
        }
    }
}

/// A rule that the promise rests on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rule {
    /// Offsets are sent when every record is acknowledged, not before.
    DrainBeforeOffsets,
    /// A transaction that only timers have caused carries offsets too, and so is fenced.
    OffsetsWithTimers,
    /// A restore reads its tables to their read-uncommitted end, not to the last stable offset.
    RestoreToTheEnd,
    /// Readers see what is committed, and only that.
    PublishAfterCommit,
    /// A producer that may still have a request under way makes no further transaction.
    ReplaceDoubtfulProducer,
    /// The sequence of an account that was forgotten goes on above what it was.
    SequenceOutlivesEviction,
    /// A record that the account's stored page reflects is not applied again.
    SkipReflected,
    /// What lies below the committed offsets is read again without judging it.
    SilentCatchUp,
    /// Nothing is committed for partitions that were lost.
    HeedLostAssignment,
    /// The clock goes no further than the ends of the inputs are in sight.
    StopOutOfSight,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 10] = [
        Self::DrainBeforeOffsets,
        Self::OffsetsWithTimers,
        Self::RestoreToTheEnd,
        Self::PublishAfterCommit,
        Self::ReplaceDoubtfulProducer,
        Self::SequenceOutlivesEviction,
        Self::SkipReflected,
        Self::SilentCatchUp,
        Self::HeedLostAssignment,
        Self::StopOutOfSight,
    ];

    /// Its name in `TIDEMARK_DRILL_BREAK`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DrainBeforeOffsets => "drain_before_offsets",
            Self::OffsetsWithTimers => "offsets_with_timers",
            Self::RestoreToTheEnd => "restore_to_the_end",
            Self::PublishAfterCommit => "publish_after_commit",
            Self::ReplaceDoubtfulProducer => "replace_doubtful_producer",
            Self::SequenceOutlivesEviction => "sequence_outlives_eviction",
            Self::SkipReflected => "skip_reflected",
            Self::SilentCatchUp => "silent_catch_up",
            Self::HeedLostAssignment => "heed_lost_assignment",
            Self::StopOutOfSight => "stop_out_of_sight",
        }
    }
}

#[cfg(any(test, debug_assertions))]
pub use armed::{Broken, breaks, reach};
#[cfg(not(any(test, debug_assertions)))]
pub use off::{breaks, reach};

#[cfg(any(test, debug_assertions))]
mod armed {
    use std::{
        cell::Cell,
        env,
        process::Command,
        sync::{
            LazyLock,
            atomic::{AtomicI64, Ordering},
        },
        thread,
        time::Duration,
    };

    use super::{Point, Rule};

    /// A point, and how many times to get there unharmed before something happens.
    struct Trap {
        point: Point,
        left: AtomicI64,
    }

    impl Trap {
        fn set(variable: &str) -> Option<Self> {
            let setting = env::var(variable).ok()?;
            let (name, times) = setting.split_once(':').unwrap_or((&setting, "1"));
            let point = Point::ALL.into_iter().find(|point| point.name() == name).expect("a known point");
            Some(Self { point, left: AtomicI64::new(times.parse().expect("a number of times")) })
        }

        fn springs(&self, point: Point) -> bool {
            point == self.point && self.left.fetch_sub(1, Ordering::Relaxed) == 1
        }
    }

    static KILL: LazyLock<Option<Trap>> = LazyLock::new(|| Trap::set("TIDEMARK_DRILL_KILL"));
    static STOP: LazyLock<Option<Trap>> = LazyLock::new(|| Trap::set("TIDEMARK_DRILL_STOP"));

    static BREAK: LazyLock<Option<Rule>> = LazyLock::new(|| {
        let name = env::var("TIDEMARK_DRILL_BREAK").ok()?;
        Some(Rule::ALL.into_iter().find(|rule| rule.name() == name).expect("a known rule"))
    });

    thread_local! {
        static BROKEN_HERE: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// The process gets to `point`; it may be its last.
    pub fn reach(point: Point) {
        for (trap, fate) in [(&*KILL, die as fn()), (&*STOP, stop)] {
            if trap.as_ref().is_some_and(|trap| trap.springs(point)) {
                meet(point, fate);
            }
        }
    }

    fn meet(point: Point, fate: fn()) {
        if point != Point::DuringCommit {
            return fate();
        }
        // The caller goes on to send its commit, which meets its fate under way.
        thread::spawn(move || {
            thread::sleep(Duration::from_micros(500));
            fate();
        });
    }

    /// As SIGKILL does it: no clean-up, no farewell to the group.
    fn die() {
        std::process::abort();
    }

    /// Every thread stands still until SIGCONT; then this one goes on.
    fn stop() {
        let stopped = Command::new("sh").args(["-c", "kill -STOP $PPID"]).status();
        assert!(stopped.expect("sh starts").success(), "a process can stop itself");
    }

    /// Whether the rule is to be broken.
    pub fn breaks(rule: Rule) -> bool {
        BROKEN_HERE.get().or(*BREAK) == Some(rule)
    }

    /// Breaks a rule in the current thread for as long as it lives.
    #[derive(Debug)]
    pub struct Broken(());

    impl Broken {
        /// Breaks this rule, or none.
        pub fn rule(rule: Option<Rule>) -> Self {
            BROKEN_HERE.set(rule);
            Self(())
        }
    }

    impl Drop for Broken {
        fn drop(&mut self) {
            BROKEN_HERE.set(None);
        }
    }
}

#[cfg(not(any(test, debug_assertions)))]
mod off {
    use super::{Point, Rule};

    /// The process gets to `point`.
    pub const fn reach(_: Point) {}

    /// Whether the rule is to be broken: never.
    pub const fn breaks(_: Rule) -> bool {
        false
    }
}
