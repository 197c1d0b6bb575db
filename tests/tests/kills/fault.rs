//! What explains that something came twice.

use std::{collections::HashMap, time::Duration};

use tharsis::Timestamp;
use tharsis_receiver::Received;
use tharsis_tests::{Inbox, Stood, World, mark_of};

/// An answer is settled at the latest so long after it came: the longest wait for a group of settles.
const FLUSH_WINDOW: Duration = Duration::from_millis(20);
/// What a busy machine, or a publisher that holds the database, may add.
const ALLOWANCE: Duration = Duration::from_secs(1);
/// A request that was on its way when the worker was killed is read a little later.
const ON_ITS_WAY: Duration = Duration::from_millis(250);

/// A worker that was killed, or frozen for a while.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) stood: Stood,
    /// When it went on, if it did.
    pub(crate) thawed: Option<Timestamp>,
}

impl Fault {
    pub(crate) fn kill(stood: Stood) -> Self {
        Self {
            stood,
            thawed: None,
        }
    }

    pub(crate) fn pause(stood: Stood, thawed: Timestamp) -> Self {
        Self {
            stood,
            thawed: Some(thawed),
        }
    }

    /// Whether this very worker made the request.
    pub(crate) fn made(&self, post: &Received) -> bool {
        self.stood.ports.contains(&post.peer.port())
    }

    /// The first was answered and could not be settled, or the second was begun and went out later.
    fn explains(&self, first: &Received, second: &Received) -> bool {
        let Stood { at, .. } = self.stood;
        let unsettled = self.made(first)
            && first.at <= at + ON_ITS_WAY
            && at.since(first.at) <= FLUSH_WINDOW + ALLOWANCE
            && at < second.at;
        let belated = |thawed: Timestamp| {
            let late = |post: &Received| {
                self.made(post) && thawed <= post.at && post.at <= thawed + ALLOWANCE
            };
            late(first) || late(second)
        };
        unsettled || self.thawed.is_some_and(belated)
    }
}

/// Each duplicate has a cause among these faults, or is of a worker that lost its lease, which that worker has said.
#[track_caller]
pub(crate) fn assert_duplicates_are_explained(
    world: &World,
    inboxes: &[Inbox; 2],
    faults: &[Fault],
) {
    let lost = lost_leases(world);
    for inbox in inboxes {
        let mut receipts: HashMap<String, Vec<Received>> = HashMap::new();
        for post in inbox.posts() {
            receipts.entry(mark_of(&post.body)).or_default().push(post);
        }
        for (mark, posts) in receipts {
            for pair in posts.windows(2) {
                let [first, second] = pair else {
                    continue;
                };
                let after_a_loss = lost.iter().any(|lost| {
                    first.at <= *lost + ALLOWANCE && lost.since(first.at) <= 2 * ALLOWANCE
                });
                assert!(
                    after_a_loss || faults.iter().any(|fault| fault.explains(first, second)),
                    "{} got {mark} at {} from {} and again at {} from {}, and nothing explains it",
                    inbox.name,
                    first.at,
                    first.peer,
                    second.at,
                    second.peer
                );
            }
        }
    }
}

/// When workers said that they lost their lease, as they do on a machine that lets them wait for longer than that.
pub(crate) fn lost_leases(world: &World) -> Vec<Timestamp> {
    world
        .said("lease is lost")
        .iter()
        .map(|line| {
            let (at, _) = line
                .split_once(' ')
                .expect("a line of the log begins with its time");
            Timestamp::parse(at).expect("and it is one")
        })
        .collect()
}
