//! Thousands of bad days.
//!
//! `THARSIS_SIMULATION_DAYS` says how many, `THARSIS_SIMULATION_SEED` with which seed to begin. A day that ends badly is
//! told again, alone, with its seed and one day.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};

use super::{
    day::{Day, day},
    world::World,
};

/// As many as take one processor a minute or so.
const DAYS: u64 = 10_000;

fn runner(seed: u64) -> TestRunner {
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        max_shrink_time: 30_000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// The day of a seed.
fn day_of(seed: u64) -> Day {
    let tree = day().new_tree(&mut runner(seed));
    tree.expect("nothing is refused").current()
}

/// Tells the day of a seed; one that ends badly is made as short as it can be while it does.
fn live(seed: u64) {
    let told = runner(seed).run(&day(), |day| {
        let told = tell(&day).map_err(TestCaseError::fail);
        told.map(drop)
    });
    match told {
        Ok(()) => {}
        Err(TestError::Fail(why, shortest)) => {
            panic!(
                "the day with seed {seed} ends badly (THARSIS_SIMULATION_SEED={seed} THARSIS_SIMULATION_DAYS=1 tells it again)\n\
                 {shortest:?}{why}"
            );
        }
        Err(other) => panic!("{other}"),
    }
}

thread_local! {
    /// What went wrong last in a day that is told, and where.
    static WRONG: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Tells a day, and says what went wrong without printing it: a day that is made shorter goes wrong a thousand times.
fn tell(day: &Day) -> Result<World, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_told = WRONG.with_borrow_mut(|wrong| {
                wrong
                    .as_mut()
                    .map(|wrong| *wrong = panic.to_string())
                    .is_some()
            });
            if !is_told {
                before(panic);
            }
        }));
    });
    WRONG.set(Some(String::new()));
    let told = catch_unwind(AssertUnwindSafe(|| day.tell()));
    let wrong = WRONG.take();
    told.map_err(|_| wrong.unwrap_or_default())
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number")),
    )
}

/// Days whose seed leaves this rest: one half for each of two processors.
fn live_all(rest: u64) {
    let first = number("THARSIS_SIMULATION_SEED").unwrap_or(0);
    let days = number("THARSIS_SIMULATION_DAYS").unwrap_or(DAYS);
    for seed in (first..first + days).filter(|seed| seed % 2 == rest) {
        live(seed);
    }
}

#[test]
fn every_even_day_ends_well() {
    live_all(0);
}

#[test]
fn every_odd_day_ends_well() {
    live_all(1);
}

#[test]
fn the_same_seed_tells_the_same_day() {
    let told = |seed| {
        let world = day_of(seed).tell();
        let received = world.received.iter();
        let received: Vec<_> = received
            .map(|r| (r.id, world.model.clock(r.at), r.taken))
            .collect();
        (world.operations, received)
    };
    for seed in 0..5 {
        assert_eq!(told(seed), told(seed), "with seed {seed}");
    }
}
