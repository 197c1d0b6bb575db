//! Workers and publishers that are killed, frozen, ended and added at any moment lose nothing, and invent nothing.

mod fault;
mod frozen;
mod killed;
mod leases;
mod promised;

use std::time::Duration;

use tharsis_tests::{Inbox, Publisher, Running, Subscribe, World, wait_until};

/// What a machine under load may need for anything that takes milliseconds.
const SOON: Duration = Duration::from_secs(20);

/// So many that their lanes and their pointers lie in the shards of every worker.
const CLIENTS: usize = 8;

/// Those on whose behalf is published, and two receivers: one gets everything of all of them, the other nudges alone. Each
/// client has a subscription to each, so an event comes to either receiver once.
struct House {
    clients: Vec<String>,
    inboxes: [Inbox; 2],
}

impl House {
    fn new(world: &World) -> Self {
        let inboxes = [
            world.receiver("everything").start(),
            world.receiver("nudges").start(),
        ];
        let clients: Vec<String> = (0..CLIENTS).map(|_| world.client()).collect();
        for client in &clients {
            world.subscribe(&Subscribe::new(client, &inboxes[0]));
            world.subscribe(&Subscribe::new(client, &inboxes[1]).event("nudge"));
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
        let [everything, _] = &self.inboxes;
        everything.wait_for(everything.count() + more, SOON);
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
