//! A key that takes the place of another, while a worker delivers.

use std::fs;

use tharsis::{
    Registry, Secret, profile::Profiles, store::failpoint::Failpoint, subscription::Credentials,
    system_now,
};
use tharsis_tests::{ALPHA, BETA, Database, Subscribe, World, on_both_databases, pause};

use crate::{
    KILLS, MOMENT, SOON, kill_at, number,
    point::{Story, points},
};

on_both_databases! { a_rotation_that_dies_is_gone_on_with_and_all_is_signed_meanwhile }

fn a_rotation_that_dies_is_gone_on_with_and_all_is_signed_meanwhile(on: Database) {
    let world = World::on(on);
    let [alpha, beta] = ["alpha", "beta"].map(|name| world.receiver(name).start());
    let of_a = world.subscribe(&Subscribe::new(ALPHA, &alpha));
    world.subscribe(&Subscribe::new(BETA, &beta));
    // More than are sealed anew at once.
    others(&world, 130);
    let (secrets, key) = (world.table("secret"), world.table("key"));
    let older = format!(
        "SELECT count(*) FROM {secrets} WHERE key <> (SELECT id FROM {key} WHERE retired_at IS NULL)"
    );
    let key_file = world.path(match on {
        Database::Sqlite => "outbox.db.key",
        Database::Postgres => "tharsis.key",
    });
    let keys = || {
        fs::read_to_string(&key_file)
            .expect("a key file")
            .lines()
            .count()
    };

    let worker = world.spawn_run();
    let (mut of_alpha, mut of_beta) = (Vec::new(), Vec::new());
    let begun = [
        Failpoint::KeyWritten,
        Failpoint::KeyMade,
        Failpoint::KeyNoted,
        Failpoint::KeyCommitted,
    ];
    let resealed = points(Story::Reseal, on).map(|(point, _)| point);
    for point in begun.into_iter().chain(resealed) {
        let name = point.as_str();
        for kill in 0..KILLS {
            let before = keys();
            // A chunk of a hundred, and the rest.
            let nth = match point {
                Failpoint::ResealWritten | Failpoint::ResealCommitted => 1 + kill % 2,
                _ => 1,
            };
            kill_at(&world, point, nth, &["key", "rotate"], |_| pause(MOMENT));
            let is_in_file = point != Failpoint::KeyWritten;
            assert_eq!(keys() - before, usize::from(is_in_file), "{name}");
            let left = number(&world, &older);
            let expected = match (point, nth) {
                (Failpoint::KeyCommitted, _) | (Failpoint::ResealWritten, 1) => 132,
                (Failpoint::ResealCommitted, 1) | (Failpoint::ResealWritten, _) => 32,
                _ => 0,
            };
            assert_eq!(left, expected, "{name}:{nth}");
            // The worker reads the registry anew, of which some is sealed with one key and some with the other.
            for (change, state) in [("pause", "paused"), ("resume", "active")] {
                let changed = world.ask(["subscription", change, &of_a.id]);
                assert_eq!(changed["state"], state, "{name}:{nth}: {changed}");
            }

            let lines = [world.predictions(ALPHA, 1), world.predictions(BETA, 1)];
            world.publish(&lines.concat());
            let [one, other] = lines;
            of_alpha.extend(one);
            of_beta.extend(other);
            alpha.wait_for(of_alpha.len(), SOON);

            let rotated = world.ask(["key", "rotate"]);
            assert_eq!(rotated["unreadable"], 0, "{name}");
            // One that died after the last of it was done is not known to have been cut short: another key takes its place.
            let is_done = point == Failpoint::ResealCommitted && nth == 2;
            assert_eq!(keys() - before, 1 + usize::from(is_done), "{name}:{nth}");
            assert_eq!(number(&world, &older), 0, "{name}");
        }
    }
    worker.terminate();
    worker.finish(SOON).ok();
    world.run_until_idle();
    alpha.assert_received_once(&of_alpha);
    beta.assert_received_once(&of_beta);
    // All that there ever was, but for the newest, may go.
    let text = fs::read_to_string(&key_file).expect("a key file");
    let newest = text.lines().last().expect("a key");
    fs::write(&key_file, newest).expect("the folder is the world's");
    let lines = world.predictions(ALPHA, 2);
    world.publish(&lines);
    of_alpha.extend(lines);
    world.run_until_idle();
    alpha.assert_received_once(&of_alpha);
}

/// Subscriptions for which nothing is published.
fn others(world: &World, count: usize) {
    let emitter = world.emitter();
    let policy = tharsis::egress::Policy::default();
    for n in 0..count {
        let draft = tharsis::subscription::Draft {
            client: world.client(),
            name: format!("other {n}"),
            url: "https://hooks.example.com/".to_owned(),
            ..Default::default()
        };
        let settings = draft.settings(&policy, &Profiles::default());
        let settings = settings.expect("good settings");
        let secret = Secret::new(&world.secret()).expect("a good secret");
        let credentials = Credentials::from(secret);
        let added = (emitter.registry()).add(&settings, &credentials, system_now());
        world.block_on(added).expect("it is added");
    }
}
