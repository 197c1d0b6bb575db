//! Workers that are killed, frozen, ended and added in ways that are told exactly. What only chance can find is in `chaos`.

mod frozen;
mod killed;
mod leases;

use std::{collections::HashSet, time::Duration};

use serde_json::Value;
use tharsis::Timestamp;
use tharsis_tests::{
    Clock, Inbox, Journal, Publisher, Running, Stood, Subscribe, World,
    chaos::{Answered, Evidence, Figures, Receipt, Trouble, Troubles, judge, lost_leases},
    mark_of, wait_until,
};

/// What a machine under load may need for anything that takes milliseconds.
const SOON: Duration = Duration::from_secs(20);

/// So many that their lanes and their pointers lie in the shards of every worker.
const CLIENTS: usize = 8;

/// Those on whose behalf is published, and two receivers that get everything of all of them.
struct House {
    clients: Vec<String>,
    inboxes: [Inbox; 2],
}

impl House {
    fn new(world: &World) -> Self {
        let inboxes = ["one", "other"].map(|name| world.receiver(name).start());
        let clients: Vec<String> = (0..CLIENTS).map(|_| world.client()).collect();
        for client in &clients {
            for inbox in &inboxes {
                world.subscribe(&Subscribe::new(client, inbox));
            }
        }
        Self { clients, inboxes }
    }

    /// One that publishes for all of them in all ways.
    fn publisher(&self, world: &World) -> Publisher {
        Publisher::start(world, "mixed", &self.clients)
    }

    /// Waits until so many more deliveries have come.
    #[track_caller]
    fn go_on(&self, more: usize) {
        let [one, _] = &self.inboxes;
        one.wait_for(one.count() + more, SOON);
    }

    /// The publisher did not fail; all that it committed was delivered, and nothing else; what came twice is explained by
    /// these. Nobody is at work any more.
    #[track_caller]
    fn assert_promises_are_kept(
        &self,
        world: &World,
        journal: Journal,
        mut troubles: Troubles,
    ) -> Figures {
        assert_eq!(journal.steps("failed"), Vec::<String>::new());
        for inbox in &self.inboxes {
            inbox.assert_all_verified();
        }
        for line in world.said("lease is lost") {
            let lost = lost_leases(&line, Clock::default()).into_iter();
            let worker = None;
            (troubles.all).extend(lost.map(|at| Trouble::Lost { worker, at }));
        }
        let mut receipts: Vec<Receipt> = self.inboxes.iter().flat_map(receipts).collect();
        receipts.sort_by_key(|receipt| receipt.at);
        // All are answered at once, on connections that are kept: what was not of those that were stopped is of another.
        for receipt in &receipts {
            let makers = troubles.makers.entry(receipt.connection);
            makers.or_insert_with(|| HashSet::from([usize::MAX]));
        }
        let names = self.inboxes.iter().map(|inbox| inbox.name.clone());
        let names: Vec<String> = names.collect();
        let evidence = Evidence {
            troubles,
            receipts,
            subscriptions: (self.clients.iter())
                .map(|client| (client.clone(), names.clone()))
                .collect(),
            workers: 4,
            ..Evidence::default()
        };
        let (figures, findings) = judge(&evidence.ask(world, &[journal]));
        assert_eq!(findings, Vec::<String>::new());
        let ends: HashSet<&str> = figures.ends.keys().map(String::as_str).collect();
        assert_eq!(ends, HashSet::from(["delivered"]));
        assert_eq!(world.integrity(), "ok");
        figures
    }
}

/// What an inbox that takes everything has got.
fn receipts(inbox: &Inbox) -> Vec<Receipt> {
    (inbox.posts().iter())
        .map(|post| Receipt {
            mark: mark_of(&post.body),
            path: inbox.name.clone(),
            connection: (post.peer.port(), inbox.port()),
            at: post.at,
            until: Some(post.at),
            answer: Answered::Taken,
        })
        .collect()
}

/// What explains duplicates: the workers that were stopped, with their numbers.
fn stopped(troubles: impl IntoIterator<Item = (Stood, Option<Timestamp>)>) -> Troubles {
    let mut all = Troubles::default();
    for (worker, (stood, thawed)) in troubles.into_iter().enumerate() {
        all.saw(worker, &stood.connections);
        let from = stood.at;
        all.all.push(match thawed {
            None => Trouble::Killed { worker, at: from },
            Some(until) => Trouble::Frozen {
                worker,
                from,
                until,
            },
        });
    }
    all
}

/// Every answer was a success, so one that was settled ended its delivery: what came twice was settled once.
#[track_caller]
fn assert_settled_once(world: &World) {
    for delivery in world.all_deliveries(&[]) {
        assert_eq!(delivery["attempts"], Value::from(1), "{delivery}");
    }
}

/// Waits until this worker has shards.
#[track_caller]
fn wait_for_a_share(world: &World, worker: &Running) {
    wait_until("the worker has a share", SOON, || {
        (world.share_of(worker) > 0).then_some(())
    });
}

/// Waits until so many workers have all shards between them, each its even part.
#[track_caller]
fn wait_for_shares(world: &World, workers: usize, bound: Duration) {
    wait_until(
        &format!("{workers} workers have all shards between them"),
        bound,
        || {
            let mut shares: Vec<u32> = world.workers().into_values().collect();
            shares.retain(|share| *share > 0);
            let least = shares.iter().min()?;
            let even = shares.iter().all(|share| share - least <= 1);
            (shares.len() == workers && even && shares.iter().sum::<u32>() == 64).then_some(())
        },
    );
}
