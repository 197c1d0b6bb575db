//! What admins and SREs ask for: subscriptions, commands, replays.

use tharsis::{Registry, store::failpoint::Failpoint, subscription::Subscription};
use tharsis_tests::{ALPHA, BETA, Database, Subscribe, World, on_both_databases, pause};

use crate::{
    KILLS, MOMENT, kill_at, number,
    point::{Leaves, Story, points},
    publish, rows,
};

on_both_databases! { what_is_asked_for_by_a_process_that_dies_is_asked_for_wholly_or_not_at_all }

fn what_is_asked_for_by_a_process_that_dies_is_asked_for_wholly_or_not_at_all(on: Database) {
    let world = World::on(on);
    let [shop, held] = ["shop", "held"].map(|name| world.receiver(name).start());
    let changing = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    let paused = world.subscribe(&Subscribe::new(BETA, &held)).id;
    let again = world.client();
    let replayed = world
        .subscribe(&Subscribe::new(&again, &shop).named("again"))
        .id;
    publish(&world, &world.predictions(&again, 1));
    world.run_until_idle();
    let past = world.deliveries(&["--client", &again]).remove(0)["id"].take();
    let past = past.as_str().expect("an id");
    for id in [&paused, &replayed] {
        world.ask(["subscription", "pause", id]);
    }
    let lines = world.predictions(BETA, 20);
    publish(&world, &lines);
    world.run_until_idle();
    let mut deliveries: Vec<String> = (world.deliveries(&["--client", BETA]).iter())
        .map(|delivery| delivery["id"].as_str().expect("an id").to_owned())
        .collect();
    let mut cancelled = 0;
    for (point, leaves) in points(Story::Registry, on) {
        for kill in 0..KILLS {
            let before = seen(&world);
            let secret = world.secret_file(&world.secret());
            let secret = format!("--secret-file={}", secret.display());
            let (name, url) = (
                format!("--name={}-{kill}", point.as_str()),
                shop.url.clone(),
            );
            let client = format!("--client={ALPHA}");
            let limit = format!("--max-in-flight={}", 1 + kill);
            let delivery = deliveries.last().expect("there are enough").clone();
            let asked: Vec<&str> = match point {
                Failpoint::AskCommandWritten | Failpoint::AskCommandCommitted => {
                    let is_cancel = kill % 2 == 0;
                    if leaves == Leaves::Done {
                        deliveries.pop();
                        cancelled += usize::from(is_cancel);
                    }
                    vec![
                        "delivery",
                        if is_cancel { "cancel" } else { "retry" },
                        &delivery,
                    ]
                }
                Failpoint::AskReplayWritten | Failpoint::AskReplayCommitted => match kill % 2 {
                    0 => vec!["replay", "--client", &again, "--yes"],
                    _ => vec!["replay", past, "--yes"],
                },
                _ => match kill % 6 {
                    0 => vec!["subscription", "set", &changing, &limit],
                    1 => vec!["subscription", "pause", &changing],
                    2 => vec!["subscription", "rotate", &changing, &secret],
                    3 => vec!["subscription", "resume", &changing],
                    4 => vec![
                        "subscription",
                        "add",
                        &client,
                        &name,
                        "--url",
                        &url,
                        &secret,
                    ],
                    _ => {
                        let extra = format!("extra-{}-{kill}", point.as_str());
                        let extra = Subscribe::new(ALPHA, &shop).named(&extra);
                        let id = world.subscribe_unchecked(&extra).id;
                        assert_removal(&world, point, leaves, &id);
                        continue;
                    }
                },
            };
            kill_at(&world, point, 1, &asked, |_| pause(MOMENT));
            assert_left(point, leaves, &before, &seen(&world));
        }
    }
    // What was asked for is done before anything is sent.
    world.run_until_idle();
    world.ask(["subscription", "resume", &paused]);
    world.run_until_idle();
    assert_eq!(
        held.count(),
        lines.len() - cancelled,
        "each came, or was cancelled"
    );
    assert_eq!(
        (rows(&world, "command"), unfinished_replays(&world)),
        (0, 0)
    );
    let statuses = world.statuses();
    assert_eq!(statuses["delivered"], held.count());
    assert_eq!(statuses["cancelled"], cancelled);
    assert_eq!(
        (shop.count(), statuses["held"]),
        (1, 1),
        "what is replayed waits"
    );
    assert_eq!(world.integrity(), "ok");
}

/// Another subscription is removed.
fn assert_removal(world: &World, point: Failpoint, leaves: Leaves, id: &str) {
    let before = seen(world);
    let remove = ["subscription", "remove", id, "--yes"];
    kill_at(world, point, 1, &remove, |_| pause(MOMENT));
    assert_left(point, leaves, &before, &seen(world));
}

/// All that such a point can change.
#[derive(Debug, PartialEq)]
struct Seen {
    subscriptions: Vec<Subscription>,
    commands: usize,
    replays: usize,
    revision: usize,
}

fn seen(world: &World) -> Seen {
    let emitter = world.emitter();
    let subscriptions = world.block_on(emitter.registry().list(None));
    Seen {
        subscriptions: subscriptions.expect("they can be listed"),
        commands: rows(world, "command"),
        replays: rows(world, "replay"),
        revision: number(
            world,
            &format!("SELECT revision FROM {}", world.table("revision")),
        ),
    }
}

#[track_caller]
fn assert_left(point: Failpoint, leaves: Leaves, before: &Seen, after: &Seen) {
    let name = point.as_str();
    if leaves == Leaves::Nothing {
        assert_eq!(before, after, "{name}: nothing was asked for");
        return;
    }
    assert!(after.revision > before.revision, "{name}: workers see it");
    let is_there = match point {
        Failpoint::AskCommandCommitted => after.commands == before.commands + 1,
        Failpoint::AskReplayCommitted => after.replays == before.replays + 1,
        _ => after.subscriptions != before.subscriptions,
    };
    assert!(is_there, "{name}: it is there: {before:?} {after:?}");
}

fn unfinished_replays(world: &World) -> usize {
    let query = format!(
        "SELECT count(*) FROM {} WHERE finished_at IS NULL",
        world.table("replay")
    );
    number(world, &query)
}
