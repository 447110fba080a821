//! Administrators err: offsets are reset, topics emptied, deleted, exchanged or grown. Tidemark
//! refuses to go on (65, or 78 where the configuration no longer fits) and says what is wrong.

use std::thread;

use crate::{
    load::{LIMIT, Load, PARTITIONS, await_ready, await_refusal},
    support::{kafka::Broker, tidemark, topics},
};

/// What somebody does to a deployment whose processes have ended.
struct Mistake {
    name: &'static str,
    make: fn(&Load),
    code: i32,
    /// What the refusal must say.
    says: &'static [&'static str],
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "offsets-forward",
        make: |load| reset(load, |offset| offset + 1),
        code: 65,
        says: &["committed offset", "moved by hand", ".events, partition "],
    },
    Mistake {
        name: "offsets-back",
        make: |load| reset(load, |_| 0),
        code: 65,
        says: &["committed offset 0", "moved by hand", ".events, partition "],
    },
    Mistake {
        name: "offsets-deleted",
        make: |load| topics::delete_group(load.deployment.broker(), load.deployment.group()),
        code: 65,
        says: &["the group has no committed offsets", "start afresh with"],
    },
    Mistake {
        name: "state-deleted",
        make: |load| topics::delete(load.deployment.broker(), &[&load.deployment.topic("state")]),
        code: 78,
        says: &["missing", ".state"],
    },
    Mistake {
        name: "state-created-anew",
        make: |load| recreate(load, "state"),
        code: 65,
        says: &["the state topic holds 0 pages", "were stored"],
    },
    Mistake {
        name: "standings-created-anew",
        make: |load| recreate(load, "standings"),
        code: 65,
        says: &["the standings topic lacks the last standing of"],
    },
    Mistake {
        name: "events-deleted",
        make: |load| topics::delete(load.deployment.broker(), &[&load.deployment.topic("events")]),
        code: 78,
        says: &["missing", ".events"],
    },
    Mistake {
        name: "events-created-anew",
        make: recreate_events,
        code: 65,
        // The broker has deleted the offsets with the topic.
        says: &["the page reflects topic", "committed offset is 0"],
    },
    Mistake {
        name: "partitions-added",
        make: |load| topics::add_partitions(load.deployment.broker(), &load.deployment.topic("events"), 8),
        code: 78,
        says: &["it has 4 partitions", "has 8", "same number"],
    },
    Mistake {
        name: "partitions-added-to-all",
        make: add_partitions_to_all,
        code: 65,
        says: &["had 4 partitions when state was written"],
    },
];

#[test]
fn what_contradicts_itself_is_refused_with_the_reason() {
    let Some(broker) = Broker::shared() else { return };
    // They mostly wait, so some side by side.
    for some in MISTAKES.chunks(4) {
        thread::scope(|scope| {
            for mistake in some {
                scope.spawn(move || refuse_after(broker, mistake));
            }
        });
    }
}

fn refuse_after(broker: &'static Broker, mistake: &Mistake) {
    let load = work_done(broker, mistake.name, 300);
    (mistake.make)(&load);
    let before = load.deployment.change_offsets();
    let mut process = load.deployment.start("again");
    let log = await_refusal(&mut process, mistake.code);
    for words in mistake.says {
        assert!(log.contains(words), "after {}, `{words}` is missing in:\n{log}", mistake.name);
    }
    assert_eq!(load.deployment.change_offsets(), before, "nothing is published after {}", mistake.name);
}

/// A deployment whose process has done its work and ended.
fn work_done(broker: &'static Broker, name: &str, visits: usize) -> Load {
    let load = Load::visits(broker, name, visits);
    let process = load.deployment.start("before");
    load.check(&mut [process]);
    load
}

#[test]
fn partitions_that_are_added_under_it_end_it() {
    let Some(broker) = Broker::shared() else { return };
    let load = Load::visits(broker, "grown", 300);
    let mut process = load.deployment.start("only");
    load.reference.await_published(&load.deployment, LIMIT);
    await_ready(&process, LIMIT);
    topics::add_partitions(broker, &load.deployment.topic("events"), 8);
    let log = await_refusal(&mut process, 65);
    assert!(log.contains("all topics need the same number of partitions"), "{log}");
}

fn reset(load: &Load, to: fn(i64) -> i64) {
    topics::reset_offsets(load.deployment.broker(), load.deployment.group(), &load.deployment.topic("events"), to);
}

fn recreate(load: &Load, topic: &str) {
    topics::delete(load.deployment.broker(), &[&load.deployment.topic(topic)]);
    tidemark::run_well(&["topics", "--create", "--config", &load.deployment.config("setup")]);
}

fn recreate_events(load: &Load) {
    let events = load.deployment.topic("events");
    topics::delete(load.deployment.broker(), &[&events]);
    topics::create(load.deployment.broker(), &[&events], PARTITIONS, &[]);
}

fn add_partitions_to_all(load: &Load) {
    for topic in ["events", "accounts", "tier-changes", "segment-changes", "standings", "dead-letters", "state"] {
        topics::add_partitions(load.deployment.broker(), &load.deployment.topic(topic), 8);
    }
}
