//! Several workers on one database.

use std::{collections::BTreeMap, time::Duration};

use tharsis_core::delivery::End;
use tharsis_store::{Shard, Shards};

use super::{
    SEC,
    model::Model,
    stories,
    world::{Life, Receiver, World},
};
use crate::engine::{
    Until,
    samples::{client, target},
    step::Input,
};

/// A world whose subscriptions, one for each receiver, numbered from 1 and two to a client, lie all over the shards.
fn town(seed: u64, receivers: &[Receiver]) -> World {
    let receivers: BTreeMap<i64, Receiver> = (1..).zip(receivers.iter().copied()).collect();
    let targets = receivers.keys().map(|lane| {
        let n = u8::try_from(lane * 21 % 256).expect("a byte");
        (*lane, target(client_of(*lane), n))
    });
    let targets = targets.collect();
    World::new(seed, receivers, |start| Model::new(start, targets))
}

/// The number of a subscription's client.
fn client_of(lane: i64) -> u8 {
    u8::try_from((lane + 1) / 2 * 11).expect("few receivers")
}

fn publish_to_all(world: &mut World) {
    let lanes = i64::try_from(world.receivers.len()).expect("few receivers");
    for lane in (1..=lanes).step_by(2) {
        world.publish(client(client_of(lane)));
    }
}

fn shards_of(world: &World, life: Life) -> Shards {
    world.model.leases.of(world.worker(life))
}

fn shares(world: &World) -> Vec<u32> {
    let living = world.living().into_iter();
    living.map(|life| shards_of(world, life).count()).collect()
}

pub(super) fn are_even(world: &World) -> bool {
    let shares = shares(world);
    let (least, most) = (shares.iter().min(), shares.iter().max());
    shares.iter().sum::<u32>() == 64 && least.zip(most).is_some_and(|(l, m)| m - l <= 1)
}

/// Lets time pass until it is so, and says how long it took.
pub(super) fn wait_until(
    world: &mut World,
    most: Duration,
    is_so: impl Fn(&World) -> bool,
) -> Duration {
    let start = world.now;
    while !is_so(world) {
        assert!(world.now < start + most, "it takes longer than {most:?}");
        world.run_for(Duration::from_millis(5));
    }
    world.now - start
}

/// Longer than all retries take.
const LONG: Duration = Duration::from_secs(7_200);

/// Lets the workers deliver what there is, within so long, ends them, and looks at what they did.
pub(super) fn wind_up(world: &mut World, within: Duration) {
    let start = world.now;
    while !world.model.is_empty() {
        let left = world.model.remaining(world.now);
        assert!(world.now < start + within, "stuck with {left:?}");
        world.run_for(10 * SEC);
    }
    for life in world.living() {
        world.tell(life, Input::Shutdown);
        let ended = |world: &World| !world.living().contains(&life);
        wait_until(world, 20 * SEC, ended);
        let finished = world.finished.take().expect("it has ended");
        finished.expect("nothing that cannot be mended");
    }
    let held_until = world.model.leases.held_until();
    let over = held_until.is_none_or(|until| until <= world.now);
    assert!(over, "all was given back, but for what was lost already");
    world.check_events();
}

fn pick(world: &mut World, of: usize) -> usize {
    let of = u64::try_from(of).expect("small");
    usize::try_from(world.below(of)).expect("small")
}

#[test]
fn workers_that_come_and_go_in_order_double_nothing() {
    use Receiver::{Broken, Flaky, Hangs, Healthy};
    stories(40, |seed| {
        let all = [
            Healthy, Hangs, Flaky, Broken, Healthy, Flaky, Hangs, Healthy,
        ];
        let mut world = town(seed, &all);
        world.options.max_in_flight = 16;
        world.start_engine();
        for _ in 0..8 {
            let living = world.living();
            if living.len() < 4 && (living.len() < 2 || world.below(2) == 0) {
                world.start_engine();
            } else {
                let leaves = living[pick(&mut world, living.len())];
                world.tell(leaves, Input::Shutdown);
            }
            for _ in 0..30 {
                publish_to_all(&mut world);
                let pause = world.below(300);
                world.run_for(Duration::from_millis(pause));
            }
        }
        world.run_for(30 * SEC);
        assert!(are_even(&world), "{:?}", shares(&world));
        wind_up(&mut world, LONG);
        assert!(world.excused.is_empty(), "nobody lost anything");
        world.assert_attempts_are_recorded();
    });
}

#[test]
fn a_new_worker_has_its_share_as_soon_as_what_hangs_has_ended() {
    stories(10, |seed| {
        let mut world = town(seed, &[Receiver::Hangs; 12]);
        world.start_engine();
        for _ in 0..40 {
            publish_to_all(&mut world);
        }
        world.run_for(7 * SEC);
        let second = world.start_engine();
        // The first learns of it with its next renewal.
        let told = wait_until(&mut world, 6 * SEC, |world| {
            !shards_of(world, second).is_empty()
        });
        assert!(told < Duration::from_secs(6), "{told:?}");
        // What nothing is under way in comes soon; the rest when its requests have ended, after 3 seconds at most.
        wait_until(&mut world, SEC, |world| {
            shards_of(world, second).count() >= 20
        });
        wait_until(&mut world, 4 * SEC, are_even);
        wind_up(&mut world, LONG);
        assert!(world.excused.is_empty());
    });
}

#[test]
fn a_surplus_is_given_back_at_once_and_not_with_the_next_renewal() {
    stories(10, |seed| {
        let mut world = town(seed, &[Receiver::Hangs; 12]);
        let first = world.start_engine();
        for _ in 0..40 {
            publish_to_all(&mut world);
        }
        world.run_for(7 * SEC);
        world.start_engine();
        let mut idle: BTreeMap<Shard, u32> = BTreeMap::new();
        while !are_even(&world) {
            world.run_for(Duration::from_millis(1));
            let now = world.idle_surplus(first);
            idle.retain(|shard, _| now.contains(*shard));
            for shard in now.iter() {
                let millis = idle.entry(shard).or_default();
                *millis += 1;
                // A renewal that is under way, and the one that gives it back.
                assert!(*millis <= 42, "{shard:?} is idle for {millis} ms");
            }
        }
    });
}

#[test]
fn a_worker_that_leaves_keeps_only_what_hangs_and_another_has_the_rest_within_a_second() {
    stories(10, |seed| {
        let mut world = town(seed, &[Receiver::Hangs; 12]);
        let leaves = world.start_engine();
        let stays = world.start_engine();
        world.run_for(20 * SEC);
        assert!(are_even(&world), "{:?}", shares(&world));
        for _ in 0..4 {
            publish_to_all(&mut world);
        }
        world.run_for(SEC);
        world.tell(leaves, Input::Shutdown);
        wait_until(&mut world, SEC, |world| {
            shards_of(world, stays).count() >= 52
        });
        // What hangs does so for 3 seconds.
        wait_until(&mut world, 4 * SEC, |world| {
            shards_of(world, stays) == Shards::ALL
        });
        assert!(!world.living().contains(&leaves));
        world.finished.take();
        wind_up(&mut world, LONG);
        assert!(world.excused.is_empty(), "nobody lost anything");
    });
}

#[test]
fn workers_that_run_until_idle_all_end() {
    use Receiver::{Broken, Hangs, Healthy};
    stories(10, |seed| {
        let mut world = town(seed, &[Healthy, Broken, Hangs, Healthy]);
        world.options.until = Until::Idle;
        for _ in 0..20 {
            publish_to_all(&mut world);
        }
        for _ in 0..3 {
            world.start_engine();
            let pause = world.below(400);
            world.run_for(Duration::from_millis(pause));
        }
        wait_until(&mut world, 3_600 * SEC, |world| world.living().is_empty());
        assert!(world.model.is_empty());
        wind_up(&mut world, LONG);
        assert!(world.excused.is_empty());
        world.assert_attempts_are_recorded();
    });
}

#[test]
fn a_worker_that_was_killed_is_replaced_when_its_lease_has_ended() {
    stories(10, |seed| {
        let mut world = town(seed, &[Receiver::Healthy; 12]);
        world.start_engine();
        let killed = world.start_engine();
        world.start_engine();
        world.run_for(20 * SEC);
        assert!(are_even(&world), "{:?}", shares(&world));
        world.kill(killed);
        publish_to_all(&mut world);
        // The lease, and a renewal of those who take over.
        wait_until(&mut world, 21 * SEC, are_even);
        wait_until(&mut world, SEC, |world| world.model.is_empty());
        wind_up(&mut world, LONG);
    });
}

#[test]
fn a_worker_without_shards_waits_for_some() {
    let mut world = town(1, &[Receiver::Healthy; 12]);
    let first = world.start_engine();
    world.run_for(SEC);
    world.stop(first);
    let second = world.start_engine();
    world.run_for(10 * SEC);
    assert_eq!(shares(&world), [64, 0]);
    let before = world.operations;
    world.run_for(2 * SEC);
    // Renewals and polls.
    let asked = world.operations - before;
    assert!(asked < 16, "{asked} operations in 2 seconds");
    publish_to_all(&mut world);
    world.run_for(SEC);
    assert!(world.received.is_empty());

    wait_until(&mut world, 5 * SEC, |world| {
        shards_of(world, second) == Shards::ALL
    });
    wait_until(&mut world, SEC, |world| world.model.is_empty());
    world.go_on(first);
    wait_until(&mut world, 10 * SEC, are_even);
    wind_up(&mut world, LONG);
}

#[test]
fn a_surplus_that_becomes_ours_again_is_worked_with_again() {
    stories(10, |seed| {
        let mut world = town(seed, &[Receiver::Hangs; 12]);
        let first = world.start_engine();
        for _ in 0..10 {
            publish_to_all(&mut world);
        }
        world.run_for(4_900 * SEC / 1_000);
        // While the first waits for what hangs in its surplus, the second is gone again.
        let second = world.start_engine();
        wait_until(&mut world, 6 * SEC, |world| {
            !shards_of(world, second).is_empty()
        });
        world.tell(second, Input::Shutdown);
        wait_until(&mut world, 10 * SEC, |world| {
            shards_of(world, first) == Shards::ALL
        });
        for receiver in world.receivers.values_mut() {
            *receiver = Receiver::Healthy;
        }
        wind_up(&mut world, LONG);
        assert!(world.excused.is_empty());
    });
}

#[test]
fn a_worker_that_wakes_after_its_lease_settles_nothing_wrongly() {
    use Receiver::{Broken, Hangs, Healthy};
    stories(20, |seed| {
        let mut world = town(seed, &[Broken, Healthy, Hangs, Healthy, Broken, Healthy]);
        let first = world.start_engine();
        for _ in 0..10 {
            publish_to_all(&mut world);
        }
        let pause = world.below(400);
        world.run_for(Duration::from_millis(pause));
        world.stop(first);
        let second = world.start_engine();
        wait_until(&mut world, 25 * SEC, |world| {
            shards_of(world, second) == Shards::ALL
        });
        world.run_for(8 * SEC);
        world.go_on(first);
        world.run_for(30 * SEC);
        assert!(are_even(&world), "{:?}", shares(&world));
        wind_up(&mut world, LONG);
        let dead = world.model.ended.values().filter(|end| **end == End::Dead);
        assert_eq!(dead.count(), 30, "10 for each that does not take it");
        for (id, attempts) in &world.model.attempts {
            assert!(attempts.len() <= 4, "{id}: {attempts:?}");
        }
    });
}
