//! Workers over the log in memory, with virtual time and a seed: whatever crashes, stands still, is
//! fenced, times out, or loses its reply, the committed changes are those that the records imply,
//! once each and in order, and what a restore brings back is what was there.
//!
//! `TIDEMARK_SEED=7 cargo test --lib disturbed` runs one seed, and tells it step by step if it fails;
//! `TIDEMARK_SEEDS=100000` runs so many.

use std::{
    env,
    num::NonZero,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use self::{model::EVENTS, world::World};
use crate::{
    drill::{Broken, Rule},
    log::Partition,
};

mod checks;
pub mod model;
mod oracle;
mod random;
mod told;
mod world;

/// Histories of an ordinary test run.
const SEEDS: u64 = 100;
/// Histories in which a broken rule must show.
const SEEDS_TO_NOTICE: u64 = 400;

/// Lives through the history of a seed, then checks what became of it.
fn history(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    let outcome = world.live();
    let outcome = outcome.and_then(|()| match seed % 4 {
        0 => world.fall_twice(),
        1 => world.oversleep(),
        2 => world.stall_over_a_fall(),
        _ => world.answer_late(),
    });
    let outcome = outcome.and_then(|()| world.heal()).and_then(|()| world.check());
    let again = format!("TIDEMARK_SEED={seed} cargo test --lib disturbed");
    outcome.map_err(|problem| format!("{}\nseed {seed}: {problem}\nsee it again: {again}", world.trace()))
}

fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

/// Lives through the histories of the seeds, on all cores, until one goes wrong.
fn first_failure(seeds: Range<u64>, broken: Option<Rule>) -> Option<(u64, String)> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let failed = AtomicBool::new(false);
    let share = |first: usize| {
        let _broken = Broken::rule(broken);
        for seed in seeds.clone().skip(first).step_by(threads) {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            if let Err(problem) = history(seed) {
                failed.store(true, Ordering::Relaxed);
                return Some((seed, problem));
            }
        }
        None
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|first| {
                scope.spawn({
                    let share = &share;
                    move || share(first)
                })
            })
            .collect();
        running.into_iter().filter_map(|thread| thread.join().expect("a history does not panic")).min()
    })
}

#[test]
fn disturbed_histories_publish_what_an_undisturbed_one_does() {
    let seeds = match (setting("TIDEMARK_SEED"), setting("TIDEMARK_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(SEEDS),
    };
    if let Some((_, problem)) = first_failure(seeds, None) {
        eprintln!("{problem}");
        panic!("a history went wrong, see above");
    }
}

#[test]
fn a_worker_with_a_backlog_commits_less_often() {
    let mut world = World::new(0);
    world.commit_records_max = 1_000_000;
    world.start_worker(None);
    world.rest().unwrap();
    // The end of another input comes in the second turn, and does not mean that there is less left.
    world.append(Partition(1), "another", "visit");
    world.turn_all().unwrap();
    world.pass(2_000, 0);
    world.cluster.stall(EVENTS, Partition(1), 20);
    // A turn takes 4,096 of them, some of which are worth a change.
    for number in 0..20_000 {
        let kind = if number % 100 == 0 { "demo" } else { "visit" };
        world.append(Partition(0), &format!("account-{number}"), kind);
    }
    let committed = [0, 30, 150, 30, 30].map(|millis| {
        world.pass(millis, 0);
        world.turn_all().unwrap();
        world.workers[0].worker.partitions().map(|owned| owned.last_committed()[0].0).max()
    });
    assert_eq!(committed, [4_096, 8_191, 8_191, 8_191, 20_000].map(Some), "30 ms apart at first, then up to 200");
}

#[test]
fn every_broken_rule_shows() {
    let mut unnoticed = Vec::new();
    for rule in Rule::ALL {
        match first_failure(0..SEEDS_TO_NOTICE, Some(rule)) {
            Some((seed, problem)) => {
                let what = problem.lines().rev().nth(1).unwrap_or_default();
                println!("{:<28} seed {seed:>4}: {what:.160}", rule.name());
            }
            None => unnoticed.push(rule.name()),
        }
    }
    assert!(unnoticed.is_empty(), "nobody notices that these rules are broken: {unnoticed:?}");
}
