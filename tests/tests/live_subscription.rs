//! Subscriptions change while events flow.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;
use tharsis::Event;
use tharsis_tests::{
    ALPHA, Database, Inbox, Line, Subscribe, World, is_signed_with, mark_of, on_both_databases,
    pause, wait_until,
};

on_both_databases! {
    one_that_is_added_misses_nothing_published_after_add_returned,
    a_pause_holds_within_a_poll_and_a_resume_lets_everything_go,
    until_idle_does_not_wait_for_what_is_held_and_says_what_remains,
    a_rotation_signs_with_the_new_secret_from_then_on,
    a_new_url_is_checked_and_used_from_then_on,
    a_removal_ends_what_is_unfinished_cancelled,
}

const SOON: Duration = Duration::from_secs(30);
/// A worker that has had nothing to do for a while looks this often.
const POLL: Duration = Duration::from_millis(250);

/// An engine that publishes one event after the other for as long as the story goes on beside it.
struct Flow {
    published: Mutex<Vec<Line>>,
    ended: AtomicBool,
}

impl Flow {
    fn beside<T>(world: &World, story: impl FnOnce(&Self) -> T) -> (Vec<Line>, T) {
        let flow = Self {
            published: Mutex::new(Vec::new()),
            ended: AtomicBool::new(false),
        };
        let (emitter, mut random) = (world.emitter(), world.random());
        let told = thread::scope(|scope| {
            scope.spawn(|| {
                while !flow.ended.load(Ordering::Relaxed) {
                    let line = Line::prediction(&mut random, ALPHA);
                    let event = Event::parse(line.text.as_bytes()).expect("it is a good event");
                    world
                        .block_on(emitter.publish(&event))
                        .expect("it is published");
                    flow.published
                        .lock()
                        .expect("nobody panics with it")
                        .push(line);
                    pause(Duration::from_millis(1));
                }
            });
            // A story that panics must not leave the flow going, for the scope would wait for it.
            let _end = EndFlow(&flow);
            story(&flow)
        });
        (
            flow.published.into_inner().expect("nobody panics with it"),
            told,
        )
    }

    fn count(&self) -> usize {
        self.published.lock().expect("nobody panics with it").len()
    }

    /// Waits until so many more were published.
    fn go_on(&self, more: usize) {
        let goal = self.count() + more;
        wait_until("more is published", SOON, || {
            (self.count() >= goal).then_some(())
        });
    }
}

struct EndFlow<'a>(&'a Flow);

impl Drop for EndFlow<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }
}

fn one_that_is_added_misses_nothing_published_after_add_returned(on: Database) {
    let world = World::on(on);
    let first = world.receiver("first").start();
    let added: Vec<Inbox> = (0..4)
        .map(|n| world.receiver(&format!("added-{n}")).start())
        .collect();
    world.subscribe(&Subscribe::new(ALPHA, &first));
    let run = world.spawn_run();
    let (published, since) = Flow::beside(&world, |flow| {
        flow.go_on(20);
        let since: Vec<usize> = (added.iter())
            .map(|inbox| {
                world.subscribe(&Subscribe::new(ALPHA, inbox));
                let count = flow.count();
                flow.go_on(30);
                count
            })
            .collect();
        since
    });
    first.wait_for(published.len(), SOON);
    for (inbox, since) in added.iter().zip(since) {
        // The one that was being published when `add` returned may be on either side.
        let owed = &published[(since + 1).min(published.len())..];
        wait_until(&format!("{} has all it is owed", inbox.name), SOON, || {
            let got = inbox.marks();
            owed.iter()
                .all(|line| got.contains(&line.mark))
                .then_some(())
        });
        inbox.assert_all_verified();
    }
    run.terminate();
    run.finish(SOON).ok();
    first.assert_received_once(&published);
}

fn a_pause_holds_within_a_poll_and_a_resume_lets_everything_go(on: Database) {
    let world = World::on(on);
    let (held, other) = (
        world.receiver("held").start(),
        world.receiver("other").start(),
    );
    let subscription = world.subscribe(&Subscribe::new(ALPHA, &held));
    world.subscribe(&Subscribe::new(ALPHA, &other));
    let run = world.spawn_run();
    let (published, ()) = Flow::beside(&world, |flow| {
        flow.go_on(20);
        held.wait_for(10, SOON);
        world.ask(["subscription", "pause", &subscription.id]);
        // One poll, and what was on its way.
        pause(2 * POLL);
        let (before, of_other) = (held.count(), other.count());
        flow.go_on(50);
        other.wait_for(of_other + 50, SOON);
        assert_eq!(held.count(), before, "it is held");
        world.ask(["subscription", "resume", &subscription.id]);
        held.wait_for(before + 50, SOON);
    });
    held.wait_for(published.len(), SOON);
    run.terminate();
    run.finish(SOON).ok();
    held.assert_received_once(&published);
}

fn until_idle_does_not_wait_for_what_is_held_and_says_what_remains(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let subscription = world.subscribe(&Subscribe::new(ALPHA, &shop));
    let paused = world.ask(["subscription", "pause", &subscription.id]);
    assert_eq!(paused["state"], "paused");
    let lines = world.predictions(ALPHA, 7);
    world.publish(&lines);
    let summary = world.run_until_idle().json();
    assert_eq!(
        (&summary["delivered"], &summary["remaining"]["held"]),
        (&Value::from(0), &Value::from(7))
    );
    assert_eq!(world.deliveries(&["--status", "held"]).len(), 7);
    assert_eq!(shop.count(), 0);

    world.ask(["subscription", "resume", &subscription.id]);
    world.run_until_idle();
    shop.assert_received_once(&lines);
}

fn a_rotation_signs_with_the_new_secret_from_then_on(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    let new = world.secret();
    let subscription = world.subscribe(&Subscribe::new(ALPHA, &shop));
    let run = world.spawn_run();
    let (published, since) = Flow::beside(&world, |flow| {
        flow.go_on(30);
        shop.wait_for(10, SOON);
        let file = world.secret_file(&new);
        let before = world.ask(["subscription", "show", &subscription.id]);
        let file = format!("--secret-file={}", file.display());
        let rotated = world.ask(["subscription", "rotate", &subscription.id, &file]);
        assert_ne!(rotated["secret_fingerprint"], before["secret_fingerprint"]);
        let since = flow.count();
        flow.go_on(60);
        since
    });
    shop.wait_for(published.len(), SOON);
    run.terminate();
    run.finish(SOON).ok();

    let after: Vec<&str> = published[since + 1..]
        .iter()
        .map(|line| &*line.mark)
        .collect();
    let mut with_old = 0;
    for post in shop.posts() {
        let is_new = is_signed_with(&post, &new);
        assert!(
            is_new || is_signed_with(&post, &shop.secret),
            "it is signed with one of them"
        );
        let mark = mark_of(&post.body);
        assert!(
            is_new || !after.contains(&&*mark),
            "{mark} was published after the rotation"
        );
        with_old += usize::from(!is_new);
    }
    assert!(with_old >= 10, "those before the rotation");
}

fn a_new_url_is_checked_and_used_from_then_on(on: Database) {
    let world = World::on(on);
    let (old, new) = (world.receiver("old").start(), world.receiver("new").start());
    let wrong = world.receiver("wrong").answers_head(404).start();
    let subscription = world.subscribe(&Subscribe::new(ALPHA, &old));
    let set = |url: &str| {
        world.tharsis([
            "--json",
            "subscription",
            "set",
            &subscription.id,
            "--url",
            url,
        ])
    };
    let run = world.spawn_run();
    let before = world.predictions(ALPHA, 5);
    world.publish(&before);
    old.wait_for(5, SOON);

    let refused = set(&wrong.url).expect(1).error();
    assert_eq!(refused["code"], "status_not_200");
    let kept = world.ask(["subscription", "show", &subscription.id]);
    assert_eq!(kept["url"], old.url);

    set(&new.url).ok();
    let after = world.predictions(ALPHA, 5);
    world.publish(&after);
    new.wait_for(5, SOON);
    run.terminate();
    run.finish(SOON).ok();
    old.assert_received_once(&before);
    assert_eq!((new.heads().len(), new.count(), wrong.count()), (1, 5, 0));
}

fn a_removal_ends_what_is_unfinished_cancelled(on: Database) {
    let world = World::on(on);
    let (shop, other) = (
        world.receiver("shop").answers(500).start(),
        world.receiver("other").start(),
    );
    let subscription = world.subscribe(&Subscribe::new(ALPHA, &shop).retry("1h"));
    world.subscribe(&Subscribe::new(ALPHA, &other));
    let lines = world.predictions(ALPHA, 9);
    world.publish(&lines);
    let run = world.spawn_run();
    shop.wait_for(9, SOON);
    let refused = world.refused(["subscription", "remove", &subscription.id]);
    assert_eq!(refused["code"], "not_confirmed", "it asks first");
    let removed = world.ask(["subscription", "remove", &subscription.id, "--yes"]);
    assert_eq!(removed["unfinished"], 9);
    wait_until("they are cancelled", SOON, || {
        (world.deliveries(&["--status", "cancelled"]).len() == 9).then_some(())
    });
    world.publish(&world.predictions(ALPHA, 3));
    other.wait_for(12, SOON);
    run.terminate();
    run.finish(SOON).ok();
    assert_eq!(shop.count(), 9, "a removed one gets nothing more");
    let left = world.ask(["subscription", "list"]);
    assert_eq!(left["subscriptions"].as_array().map(Vec::len), Some(1));
}
