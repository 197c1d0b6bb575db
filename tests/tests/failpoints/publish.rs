//! Publishing, alone, together with others, and on the caller's connection.

use std::collections::HashSet;

use tharsis::store::failpoint::Failpoint;
use tharsis_tests::{
    ALPHA, BETA, Database, Publisher, Subscribe, World, mark_of, on_both_databases,
};

use crate::{
    KILLS, armed, assert_died_at,
    point::{Leaves, Story, points},
};

on_both_databases! { of_a_publisher_that_dies_what_it_committed_is_received_and_what_it_did_not_is_not }

/// What a publisher was at when it died.
struct Victims {
    point: Failpoint,
    leaves: Leaves,
    marks: HashSet<String>,
}

fn of_a_publisher_that_dies_what_it_committed_is_received_and_what_it_did_not_is_not(on: Database) {
    let world = World::on(on);
    let shop = world.receiver("shop").start();
    for client in [ALPHA, BETA] {
        world.subscribe(&Subscribe::new(client, &shop));
    }
    let mut committed = HashSet::new();
    let mut victims = Vec::new();
    for (point, leaves) in points(Story::Publish, on) {
        // Whoever else published together was not told.
        let how = if point == Failpoint::PublishTold {
            "together"
        } else {
            "mixed"
        };
        for kill in 0..KILLS {
            let setting = armed(point, 1 + kill % 5);
            let publisher = Publisher::start_armed(&world, &setting, how, &[ALPHA, BETA]);
            let journal = publisher.journal;
            assert_died_at(publisher.process, point);
            let told: HashSet<String> = journal.steps("committed").into_iter().collect();
            let marks = journal.steps("intends").into_iter();
            victims.push(Victims {
                point,
                leaves,
                marks: marks.filter(|mark| !told.contains(mark)).collect(),
            });
            committed.extend(told);
        }
    }
    world.run_until_idle();

    let posts = shop.posts();
    let received: HashSet<String> = posts.iter().map(|post| mark_of(&post.body)).collect();
    assert_eq!(posts.len(), received.len(), "nothing came twice");
    shop.assert_all_verified();
    let mut expected = committed;
    assert!(expected.is_subset(&received), "what was committed came");
    for Victims {
        point,
        leaves,
        marks,
    } in victims
    {
        let came = marks.intersection(&received).count();
        let name = point.as_str();
        match (point, leaves) {
            // Several commits may be under way, of which one was over.
            (Failpoint::PublishTold, _) => assert!(came > 0, "{name}: nothing of it came"),
            (_, Leaves::Nothing) => assert_eq!(came, 0, "{name}: was not committed"),
            _ => assert_eq!(came, marks.len(), "{name}: was committed"),
        }
        expected.extend(marks.intersection(&received).cloned());
    }
    assert_eq!(received, expected, "and nothing else");
    assert_eq!(world.statuses()["delivered"], received.len());
    assert_eq!(world.integrity(), "ok");
}
