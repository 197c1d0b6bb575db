//! The whole engine in a world without time, threads or network: every story is repeated from seeds, and whatever goes
//! wrong can be looked at again with the seed that the failure names.

mod day;
mod days;
pub(super) mod model;
mod worker;
mod workers;
mod world;

use std::{collections::BTreeMap, time::Duration};

use tharsis_core::{DeliveryId, delivery::End};

use super::{Summary, Until, samples::target};
use model::Model;
use world::{Receiver, World};

const SEC: Duration = Duration::from_secs(1);

/// A world with one subscription for each receiver, numbered from 1, two to a client.
fn world(seed: u64, receivers: &[Receiver]) -> World {
    let receivers: BTreeMap<i64, Receiver> = (1..).zip(receivers.iter().copied()).collect();
    let targets = receivers
        .keys()
        .map(|n| {
            let n8 = u8::try_from(*n).expect("few receivers");
            (*n, target(owner(*n), n8))
        })
        .collect();
    World::new(seed, receivers, |start| Model::new(start, targets))
}

/// The client of a subscription.
fn owner(lane: i64) -> u8 {
    u8::try_from((lane + 1) / 2).expect("few receivers")
}

/// Tells the same story with many seeds.
fn stories(count: u64, story: impl Fn(u64)) {
    for seed in 0..count {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| story(seed)));
        if let Err(panic) = told {
            let why = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            panic!("with seed {seed}: {}", why.unwrap_or_default());
        }
    }
}

/// Lets the engine run until it ends by itself.
fn run_until_idle(world: &mut World, within: Duration) -> Summary {
    world.options.until = Until::Idle;
    world.start_engine();
    let end = world.now + within;
    while world.is_running() && world.now < end {
        world.run_for(SEC);
    }
    let finished = world.finished.take().expect("it should be idle by now");
    let summary = finished.expect("nothing that cannot be mended");
    let remaining = world.model.remaining(world.now);
    assert_eq!(
        (remaining.unrouted, remaining.pending, remaining.commands),
        (0, 0, 0)
    );
    assert_eq!(summary.remaining, remaining);
    assert_eq!(
        world.model.leases.any_owner(),
        None,
        "the lease was given back"
    );
    summary
}

/// How a delivery of this event ended for this subscription.
fn end_of(world: &World, event: tharsis_core::EventId, lane: i64) -> Option<End> {
    let subscription = world.model.targets[&lane].subscription.id;
    world
        .model
        .ended
        .get(&DeliveryId {
            event,
            subscription,
        })
        .copied()
}
