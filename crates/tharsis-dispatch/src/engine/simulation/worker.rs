//! One worker.

use std::time::Duration;

use tharsis_core::{
    delivery::End,
    subscription::{State, Unreadable},
};
use tharsis_store::StoreError;

use super::{
    SEC, end_of, owner, run_until_idle, stories, world,
    world::{Faults, Receiver, World},
};
use crate::engine::{
    Until,
    samples::{client, target},
    step::Input,
};

#[test]
fn every_event_reaches_its_end_and_attempts_are_as_many_as_the_policy_says() {
    use Receiver::{Broken, Flaky, Gone, Healthy, Ours};
    stories(10, |seed| {
        let mut world = world(seed, &[Healthy, Broken, Flaky, Gone, Ours]);
        let events: Vec<_> = (0..30)
            .map(|n| {
                let owner = 1 + n % 3;
                (owner, world.publish(client(owner)))
            })
            .collect();
        run_until_idle(&mut world, Duration::from_secs(3_600));
        for (owner, event) in &events {
            match owner {
                1 => {
                    assert_eq!(end_of(&world, *event, 1), Some(End::Delivered));
                    assert_eq!(end_of(&world, *event, 2), Some(End::Dead));
                }
                2 => assert!(end_of(&world, *event, 3).is_some()),
                _ => assert_eq!(end_of(&world, *event, 5), Some(End::Delivered)),
            }
        }
        let broken = world.received.iter().filter(|r| r.lane == 2).count();
        assert_eq!(broken, 10 * 4, "one attempt and three retries each");
        // The one request that was answered 410 ended its delivery; all others are held.
        assert_eq!(world.received.iter().filter(|r| r.lane == 4).count(), 1);
        assert_eq!(world.model.remaining(world.now).held, 9);
        world.check_events();
    });
}

#[test]
fn a_store_that_fails_loses_nothing_and_doubles_nothing() {
    use Receiver::{Broken, Flaky, Healthy};
    stories(40, |seed| {
        let mut world = world(seed, &[Healthy, Broken, Flaky, Healthy]);
        world.faults = Faults {
            lost: 15,
            ambiguous: 15,
            ..Faults::default()
        };
        for n in 0..40 {
            world.publish(client(1 + n % 2));
        }
        let summary = run_until_idle(&mut world, Duration::from_secs(7_200));
        let delivered = world
            .model
            .ended
            .values()
            .filter(|end| **end == End::Delivered);
        assert_eq!(summary.delivered, delivered.count() as u64);
        for (series, figure) in [
            (
                r#"tharsis_deliveries_ended_total{end="delivered"}"#,
                summary.delivered,
            ),
            ("tharsis_retries_total", summary.retried),
        ] {
            let counted = world.options.metrics.figure(series);
            assert_eq!(counted, figure.to_string(), "{series}");
        }
        for (event, publisher) in &world.published {
            for lane in 1..=4 {
                if client(owner(lane)) == *publisher {
                    assert!(end_of(&world, *event, lane).is_some());
                }
            }
        }
        assert!(world.excused.is_empty());
        world.check_events();
        let broken = world.received.iter().filter(|r| r.lane == 2).count();
        assert_eq!(
            broken,
            20 * 4,
            "an attempt whose settlement was lost is not repeated"
        );
        world.assert_attempts_are_recorded();
    });
}

#[test]
fn a_worker_that_is_killed_at_any_moment_loses_nothing() {
    use Receiver::{Broken, Flaky, Healthy, Ours};
    stories(40, |seed| {
        let mut world = world(seed, &[Healthy, Flaky, Ours, Broken, Healthy]);
        world.faults = Faults {
            lost: seed % 10,
            ambiguous: seed % 7,
            ..Faults::default()
        };
        world.start_engine();
        for n in 0..60_u8 {
            world.publish(client(1 + n % 3));
            if world.below(3) == 0 {
                world.input(Input::Woken);
            }
            let pause = world.below(60);
            world.run_for(Duration::from_millis(pause));
            if world.below(6) == 0 {
                world.kill_it();
                let pause = world.below(3_000);
                world.run_for(Duration::from_millis(pause));
                world.start_engine();
            }
        }
        world.kill_it();
        run_until_idle(&mut world, Duration::from_secs(7_200));
        for (event, publisher) in &world.published {
            for lane in 1..=5 {
                if client(owner(lane)) == *publisher {
                    assert!(end_of(&world, *event, lane).is_some());
                }
            }
        }
        world.check_events();
    });
}

#[test]
fn a_receiver_that_hangs_and_one_that_fails_do_not_delay_a_healthy_third() {
    use Receiver::{Broken, Hangs, Healthy};
    stories(2, |seed| {
        let mut receivers = vec![Hangs; 30];
        receivers.extend([Broken; 10]);
        receivers.push(Healthy);
        let mut world = world(seed, &receivers);
        world.options.max_in_flight = 64;
        world.start_engine();
        for _ in 0..50 {
            for owner in 1..=20 {
                world.publish(client(owner));
            }
        }
        world.run_for(Duration::from_secs(10));
        for _ in 0..200 {
            world.publish(client(21));
            for owner in 1..=20 {
                world.publish(client(owner));
            }
            world.run_for(Duration::from_millis(50));
        }
        world.run_for(SEC);
        let healthy: Vec<_> = world.received.iter().filter(|r| r.lane == 41).collect();
        assert_eq!(healthy.len(), 200);
        let latest = healthy
            .iter()
            .map(|r| world.model.clock(r.at).since(r.published_at))
            .max();
        // A poll of up to 20 ms, then four operations of the store of up to 20 ms each, some after another of its kind.
        assert!(latest < Some(Duration::from_millis(250)), "{latest:?}");
    });
}

#[test]
fn a_shutdown_waits_for_requests_in_flight_within_the_grace_and_doubles_nothing() {
    use Receiver::{Hangs, Healthy};
    stories(40, |seed| {
        let mut world = world(seed, &[Healthy, Hangs, Healthy]);
        world.options.grace = Duration::from_secs(if seed % 2 == 0 { 5 } else { 1 });
        world.start_engine();
        for n in 0..60 {
            world.publish(client(1 + n % 2));
        }
        let pause = world.below(1_500);
        world.run_for(Duration::from_millis(pause));
        let asked = world.now;
        world.input(Input::Shutdown);
        let received = world.received.len();
        while world.is_running() {
            world.run_for(Duration::from_millis(10));
        }
        let took = world.now - asked;
        assert!(took < world.options.grace + 3 * SEC, "{took:?}");
        assert!(
            world.received.len() - received <= 17,
            "none but those in flight"
        );
        assert_eq!(
            world.model.leases.any_owner(),
            None,
            "the lease was given back"
        );
        if seed % 2 == 0 {
            assert!(world.excused.is_empty(), "the grace was long enough");
            world.assert_attempts_are_recorded();
        }
        world.receivers.insert(2, Healthy);
        run_until_idle(&mut world, Duration::from_secs(3_600));
        world.check_events();
    });
}

#[test]
fn an_idle_engine_ends_at_once_and_asks_little() {
    let mut world = world(1, &[Receiver::Healthy]);
    world.start_engine();
    world.run_for(60 * SEC);
    let before = world.operations;
    world.run_for(60 * SEC);
    // Four polls a second, a renewal every five, a safety read every five, a look what is
    // to be told every five, a discovery a minute.
    let a_minute = world.operations - before;
    assert!(a_minute < 300, "{a_minute} operations a minute");
    let asked = world.now;
    world.input(Input::Shutdown);
    while world.is_running() {
        world.run_for(Duration::from_millis(5));
    }
    assert!(world.now - asked < Duration::from_millis(100));
}

#[test]
fn a_subscription_added_while_events_flow_misses_none_that_is_published_after() {
    stories(10, |seed| {
        let mut world = world(seed, &[Receiver::Healthy]);
        world.start_engine();
        for _ in 0..20 {
            world.publish(client(1));
            let pause = world.below(30);
            world.run_for(Duration::from_millis(pause));
        }
        world.add(2, target(1, 2), Receiver::Healthy);
        let after: Vec<_> = (0..20)
            .map(|_| {
                let event = world.publish(client(1));
                let pause = world.below(30);
                world.run_for(Duration::from_millis(pause));
                event
            })
            .collect();
        world.run_for(SEC);
        for event in after {
            assert_eq!(end_of(&world, event, 2), Some(End::Delivered));
        }
    });
}

#[test]
fn what_expires_while_it_is_held_ends_expired_without_a_request() {
    let mut world = world(1, &[Receiver::Healthy]);
    world.pause(1);
    let event = world.publish_with(client(1), Some(2 * SEC), None);
    world.start_engine();
    world.run_for(5 * SEC);
    assert_eq!(end_of(&world, event, 1), None);
    world.resume(1);
    world.run_for(SEC);
    assert_eq!(end_of(&world, event, 1), Some(End::Expired));
    assert!(world.received.is_empty());
}

#[test]
fn a_summary_counts_what_ended_when_it_was_routed() {
    let mut world = world(1, &[Receiver::Healthy]);
    world.publish_with(client(1), Some(SEC), None);
    world.publish(client(1));
    world.run_for(2 * SEC);
    let summary = run_until_idle(&mut world, 60 * SEC);
    assert_eq!((summary.delivered, summary.ended), (1, 1));
}

#[test]
fn figures_are_written_down_every_ten_seconds_and_at_the_end() {
    let mut world = world(1, &[Receiver::Healthy]);
    world.start_engine();
    world.publish(client(1));
    world.run_for(9 * SEC);
    assert_eq!(world.model.figures.attempts, 0);
    world.run_for(2 * SEC);
    assert_eq!(world.model.figures.attempts, 1);
    world.publish(client(1));
    world.run_for(SEC);
    world.input(Input::Shutdown);
    world.run_for(SEC);
    assert!(!world.is_running());
    assert_eq!(world.model.figures.attempts, 2);
}

#[test]
fn figures_that_fail_have_nothing_read_anew() {
    fn error() -> Result<(), StoreError> {
        Err(StoreError::Database("there is no connection".into()))
    }
    let mut world = world(1, &[Receiver::Healthy]);
    world.start_engine();
    world.run_for(5 * SEC + SEC / 2);
    for failed in [Input::AddFigures(error()), Input::NoteDepth(error())] {
        let before = world.operations;
        world.input(failed);
        assert_eq!(world.operations, before);
    }
    let event = world.publish(client(1));
    world.run_for(2 * SEC);
    assert_eq!(end_of(&world, event, 1), Some(End::Delivered));
}

#[test]
fn figures_count_every_attempt_and_every_end() {
    stories(10, |seed| {
        let mut world = world(seed, &[Receiver::Healthy, Receiver::Broken]);
        for _ in 0..10 {
            world.publish(client(1));
        }
        world.publish_with(client(1), Some(Duration::ZERO), None);
        run_until_idle(&mut world, Duration::from_secs(3_600));
        let figures = &world.model.figures;
        assert_eq!((figures.attempts, figures.failed), (10 + 10 * 4, 10 * 4));
        assert_eq!((figures.delivered, figures.dead), (10, 10));
        assert_eq!((figures.expired, figures.latency.count()), (2, 10));
        assert_eq!(*figures, world.model.of_subscriptions);
    });
}

#[test]
fn a_receiver_that_is_gone_is_suspended_and_its_deliveries_are_held() {
    let mut world = world(1, &[Receiver::Gone]);
    for _ in 0..10 {
        world.publish(client(1));
    }
    world.start_engine();
    world.run_for(60 * SEC);
    assert_eq!(world.received.len(), 1);
    let state = &world.model.targets[&1].subscription.state;
    assert_eq!(
        state,
        &State::Suspended {
            reason: "http_410".to_owned()
        }
    );
    world.receivers.insert(1, Receiver::Healthy);
    world.resume(1);
    world.run_for(SEC);
    assert_eq!(world.received.len(), 10);
}

#[test]
fn a_worker_that_is_cut_off_or_stopped_starts_nothing_that_another_may_have() {
    stories(40, |seed| {
        let mut world = world(seed, &[Receiver::Healthy, Receiver::Flaky]);
        world.options.max_in_flight = 2;
        world.start_engine();
        for _ in 0..300 {
            world.publish(client(1));
        }
        for _ in 0..3 {
            let pause = 100 + world.below(600);
            world.run_for(Duration::from_millis(pause));
            if seed % 2 == 0 {
                world.cut_off(Duration::from_secs(30));
            } else {
                let time = 8 + world.below(12);
                world.freeze(Duration::from_secs(time));
            }
            for _ in 0..20 {
                world.publish(client(1));
            }
        }
        let event = world.publish(client(1));
        world.run_for(Duration::from_secs(120));
        let end = end_of(&world, event, 1);
        assert_eq!(end, Some(End::Delivered), "without a restart");
        world.input(Input::Shutdown);
        world.run_for(Duration::from_secs(20));
        run_until_idle(&mut world, Duration::from_secs(3_600));
        world.check_events();
    });
}

#[test]
fn retries_go_out_when_they_are_due() {
    let mut world = world(1, &[Receiver::Broken]);
    let target = world.model.targets.get_mut(&1).expect("there");
    let policy = "100ms,200ms,400ms".parse().expect("a policy");
    target.subscription.settings.retry = policy;
    world.publish(client(1));
    world.start_engine();
    world.run_for(3 * SEC);
    let at: Vec<_> = world.received.iter().map(|r| r.at).collect();
    assert_eq!(at.len(), 4);
    for (pair, delay) in at.windows(2).zip([100, 200, 400]) {
        let waited = pair[1] - pair[0];
        // 80 to 120 %, and the time for the answer, the settle and the read.
        let allowed =
            Duration::from_millis(delay * 8 / 10)..Duration::from_millis(delay * 12 / 10 + 80);
        assert!(allowed.contains(&waited), "{waited:?} for {delay} ms");
    }
}

#[test]
fn many_commands_are_carried_out_at_once() {
    let mut world = world(1, &[Receiver::Healthy]);
    world.pause(1);
    for _ in 0..30 {
        world.publish(client(1));
    }
    world.start_engine();
    world.run_for(SEC);
    for n in 0..30 {
        world.cancel(n);
    }
    world.run_for(2 * SEC);
    assert_eq!(world.model.remaining(world.now).commands, 0);
    assert_eq!(world.model.ended.len(), 30);
}

#[test]
fn what_is_cancelled_while_it_waits_in_memory_is_not_sent() {
    let mut world = world(1, &[Receiver::Hangs]);
    for _ in 0..14 {
        world.publish(client(1));
    }
    world.start_engine();
    world.run_for(SEC);
    assert_eq!(world.received.len(), 1);
    for n in 0..14 {
        world.cancel(n);
    }
    world.run_for(60 * SEC);
    assert_eq!(world.received.len(), 1);
}

#[test]
fn a_commit_that_nobody_told_us_of_is_found_in_time() {
    let mut world = world(1, &[Receiver::Healthy]);
    world.start_engine();
    world.run_for(SEC);
    world.publish(client(1));
    world.model.hide_change();
    world.run_for(6 * SEC);
    assert_eq!(world.received.len(), 1, "an event");
    world.run_for(10 * SEC);
    world.write_unseen(1);
    world.run_for(61 * SEC);
    assert_eq!(world.received.len(), 2, "a delivery of another router");
}

#[test]
fn what_another_router_wrote_for_a_new_subscription_is_found_with_it() {
    let mut world = world(1, &[Receiver::Healthy]);
    world.start_engine();
    world.run_for(10 * SEC);
    world.add(2, target(2, 2), Receiver::Healthy);
    world.write_unseen(2);
    world.run_for(6 * SEC);
    assert_eq!(world.received.len(), 1);
}

#[test]
fn what_another_router_wrote_is_waited_for_too() {
    let mut world = world(1, &[Receiver::Broken]);
    world.options.until = Until::Idle;
    world.publish(client(1));
    world.start_engine();
    world.run_for(20 * SEC);
    let before = world.received.len();
    let event = world.write_unseen(1);
    world.run_for(3 * SEC);
    assert_eq!(world.received.len(), before + 1);
    world.run_for(Duration::from_secs(1_200));
    assert!(!world.is_running());
    assert_eq!(end_of(&world, event, 1), Some(End::Dead));
}

#[test]
fn a_fault_of_ours_costs_no_attempt_not_even_the_last() {
    let mut world = world(1, &[Receiver::Never]);
    let event = world.publish_with(client(1), Some(Duration::from_secs(30)), None);
    run_until_idle(&mut world, Duration::from_secs(60));
    assert_eq!(end_of(&world, event, 1), Some(End::Expired));
    let attempts: Vec<_> = world.model.attempts.values().flatten().collect();
    let numbers: Vec<_> = attempts.iter().map(|one| one.attempt.number).collect();
    assert_eq!(numbers, [0], "an end without an attempt");
}

#[test]
fn requests_stop_when_nothing_can_be_settled() {
    let mut world = world(1, &[Receiver::Healthy]);
    let target = world.model.targets.get_mut(&1).expect("there");
    target.subscription.settings.max_in_flight = 64;
    world.faults.no_settling = true;
    for _ in 0..3_000 {
        world.publish(client(1));
    }
    world.start_engine();
    world.run_for(Duration::from_secs(60));
    // 2,048 and one for each slot.
    let sent = world.received.len();
    assert!((2_048..=2_304).contains(&sent), "{sent}");
    world.faults.no_settling = false;
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.received.len(), 3_000);
}

#[test]
fn after_a_lease_that_was_lost_during_a_read_lanes_are_read_again() {
    stories(60, |seed| {
        let mut world = world(seed, &[Receiver::Healthy]);
        let event = world.publish(client(1));
        world.start_engine();
        let pause = world.below(120);
        world.run_for(Duration::from_millis(pause));
        world.input(Input::Discover(Err(StoreError::LeaseLost)));
        world.run_for(5 * SEC);
        assert_eq!(end_of(&world, event, 1), Some(End::Delivered));
    });
}

#[test]
fn a_receiver_that_is_gone_for_a_cancelled_delivery_is_suspended_all_the_same() {
    let mut world = world(1, &[Receiver::Gone]);
    world.publish(client(1));
    world.start_engine();
    while world.received.is_empty() {
        world.run_for(Duration::from_millis(1));
    }
    world.model.end(0);
    world.run_for(SEC);
    world.receivers.insert(1, Receiver::Healthy);
    let event = world.publish(client(1));
    world.run_for(SEC);
    assert_eq!(end_of(&world, event, 1), None);
    world.resume(1);
    world.run_for(SEC);
    assert_eq!(end_of(&world, event, 1), Some(End::Delivered));
}

#[test]
fn maintenance_is_seen_to_at_the_start_and_hourly_and_stops_nothing_where_it_fails() {
    let mut world = world(1, &[Receiver::Healthy]);
    world.start_engine();
    world.run_for(SEC);
    assert_eq!(world.model.maintained, 1);
    world.run_for(3_000 * SEC);
    assert_eq!(world.model.maintained, 1);
    world.faults.no_maintenance = true;
    world.run_for(1_200 * SEC);
    let event = world.publish(client(1));
    world.run_for(SEC);
    assert_eq!(end_of(&world, event, 1), Some(End::Delivered));
    assert_eq!(world.model.maintained, 1);
    world.faults.no_maintenance = false;
    world.run_for(61 * SEC);
    assert_eq!(world.model.maintained, 2, "tried again within a minute");
    world.run_for(3_599 * SEC);
    assert_eq!(world.model.maintained, 3);
}

#[test]
fn what_cannot_be_read_is_told_at_once_and_read_again_until_it_can() {
    let mut world = world(1, &[Receiver::Healthy, Receiver::Healthy]);
    world.start_engine();
    world.run_for(SEC);
    assert_eq!(world.model.maintained, 1);
    let state = |world: &mut World, state| {
        let target = world.model.targets.get_mut(&1).expect("it is there");
        target.subscription.state = state;
    };
    state(&mut world, Unreadable::Secret.state());
    // The registry is written, by whomever.
    world.pause(2);
    world.run_for(SEC);
    assert_eq!(world.model.maintained, 2);
    let event = world.publish(client(1));
    world.run_for(60 * SEC);
    assert_eq!(end_of(&world, event, 1), None);
    assert_eq!(world.model.maintained, 2);
    // This process was given the key. The registry is as it was.
    state(&mut world, State::Active);
    world.run_for(11 * SEC);
    assert_eq!(end_of(&world, event, 1), Some(End::Delivered));
}

#[test]
fn a_registry_that_the_server_lost_is_not_routed_by() {
    stories(60, |seed| {
        let mut world = world(seed, &[Receiver::Gone]);
        world.start_engine();
        world.run_for(SEC);
        // What suspends a subscription is a settlement, which waits for no disk.
        world.publish(client(1));
        world.doom(500 * SEC / 1_000, 700 * SEC / 1_000);
        world.run_for(SEC);
        let before = world.model.revision();
        while world.is_down() {
            world.run_for(Duration::from_millis(1));
        }
        let mut events = Vec::new();
        // Another change gets the number that the lost one had.
        world.add(2, target(1, 2), Receiver::Healthy);
        assert_eq!(world.model.revision(), before + 1);
        for _ in 0..40 {
            let event = world.publish(client(1));
            world.run_for(Duration::from_millis(100));
            events.push(event);
        }
        world.run_for(10 * SEC);
        for event in events {
            assert_eq!(end_of(&world, event, 2), Some(End::Delivered));
        }
    });
}

#[test]
fn receivers_that_are_gone_one_after_another_do_not_hold_up_what_others_publish() {
    stories(20, |seed| {
        let mut receivers = vec![Receiver::Gone; 240];
        receivers.push(Receiver::Healthy);
        let mut world = world(seed, &receivers);
        world.options.max_in_flight = 64;
        world.start_engine();
        // Each is suspended by a settlement, after which the registry is read again.
        for gone in 1..=120_u8 {
            let starts_in = SEC + Duration::from_millis(8) * u32::from(gone);
            world.publish_with(client(gone), None, Some(starts_in));
        }
        world.run_for(1_100 * SEC / 1_000);
        for _ in 0..10 {
            world.publish(client(121));
            world.input(Input::Woken);
            world.run_for(50 * SEC / 1_000);
        }
        world.run_for(2 * SEC);
        assert_eq!(world.received.len(), 240 + 10, "all are gone but one");
        let healthy = world.received.iter().filter(|r| r.lane == 241);
        let waited = healthy.map(|r| world.model.clock(r.at).since(r.published_at));
        let longest = waited.max();
        assert!(longest < Some(Duration::from_millis(250)), "{longest:?}");
    });
}
