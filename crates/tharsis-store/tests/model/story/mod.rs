//! One story: a database, the processes that come to it, and the model beside it.

mod people;
mod publishers;
mod settling;
mod workers;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tharsis_core::{
    DeliveryId, EventId, ReplayId, SubscriptionId, Timestamp, WorkerId, delivery::End,
};
use tharsis_store::{
    DeliveryFilter, Due, Lease, ReplayChoice, ReplayKey, Routed, Settlement, Status, Store,
    model::Model,
};

use crate::{
    answer::Told,
    command::{Command, How, Those},
    database::Database,
    harness::{client, seconds},
};

/// More than any story has.
const ALL: u32 = 10_000;

pub(crate) struct Story<'a, D: Database> {
    pub(crate) workers: Vec<Worker>,
    pub(crate) model: Model,
    /// The instant that is handed over. It moves a little with each command.
    pub(crate) now: Timestamp,
    /// When leases are looked at: they do not run out by themselves.
    start: Instant,
    pub(crate) subscriptions: Vec<SubscriptionId>,
    pub(crate) events: Vec<EventId>,
    pub(crate) replays: Vec<ReplayId>,
    /// What was read and may be settled, the newest last.
    reads: Vec<Read>,
    /// What was settled last.
    settled: Vec<Both<Settlement>>,
    /// Everybody who ever held a lease.
    lives: Vec<WorkerId>,
    /// The durations of attempts so far: each has another one.
    durations: u64,
    database: &'a D,
}

/// A worker's process.
pub(crate) struct Worker {
    pub(crate) store: Store,
    id: WorkerId,
    pub(crate) lease: Option<Both<Lease>>,
    plan: Vec<Both<Routed>>,
}

/// The same thing, as the database names it and as the model does.
#[derive(Debug, Clone)]
pub(crate) struct Both<T> {
    pub(crate) store: T,
    pub(crate) model: T,
}

#[derive(Debug, Clone)]
struct Read {
    due: Both<Due>,
    at: Timestamp,
}

impl<'a, D: Database> Story<'a, D> {
    pub(crate) async fn tell(database: &'a mut D, commands: &[Command]) -> Told {
        database.clear().await;
        let mut story = Self::begin(database).await?;
        for command in commands {
            story.now = story.now + Duration::from_millis(20);
            let told = async {
                story.command(command).await?;
                story.compare().await
            };
            told.await
                .map_err(|why: String| format!("{why}\nafter: {command:?}"))?;
        }
        story.compare_all().await
    }

    async fn begin(database: &'a D) -> Result<Self, String> {
        let mut workers = Vec::new();
        for n in 0..D::WORKERS {
            workers.push(Worker {
                store: database.open().await,
                id: name(n),
                lease: None,
                plan: Vec::new(),
            });
        }
        let start = Instant::now();
        let lives = workers.iter().map(|worker| worker.id).collect();
        let mut story = Self {
            workers,
            model: Model::new(start, BTreeMap::new()),
            now: Timestamp::default(),
            start,
            subscriptions: Vec::new(),
            events: Vec::new(),
            replays: Vec::new(),
            reads: Vec::new(),
            settled: Vec::new(),
            lives,
            durations: 0,
            database,
        };
        story.hold(0, false).await?;
        let lease = story.workers[0].lease.as_ref().ok_or("no lease")?;
        // So that nothing expires by the database's clock, by which lists tell of it.
        story.now = lease.store.clock + seconds(86_400);
        for (of, name) in [(1, 0), (1, 1), (2, 0)] {
            story.add(of, name).await?;
        }
        Ok(story)
    }

    async fn command(&mut self, command: &Command) -> Told {
        match command {
            Command::Publish(how, drafts) => self.publish(*how, drafts).await,
            Command::PublishBySql { client, n, expires } => {
                self.publish_by_sql(*client, *n, *expires).await
            }
            Command::Add { client, name } => self.add(*client, *name).await,
            Command::Pause(of) => self.pause(*of).await,
            Command::Resume(of) => self.resume(*of).await,
            Command::Set(of, name, headers) => self.set(*of, *name, *headers).await,
            Command::Rotate(of, n, overlap) => self.rotate(*of, *n, *overlap).await,
            Command::Remove(of) => self.remove(*of).await,
            Command::PauseCampaign(of, n) => self.pause_campaign(*of, *n).await,
            Command::ResumeCampaign(of, n) => self.resume_campaign(*of, *n).await,
            Command::CancelCampaign(of, n) => self.cancel_campaign(*of, *n).await,
            Command::Retry(of) => self.retry(*of).await,
            Command::Cancel(of) => self.cancel(*of).await,
            Command::Replay(these, key) => {
                let ids = these.iter().filter_map(|n| self.delivery(*n)).collect();
                self.replay(ReplayChoice::Deliveries(ids), *key).await
            }
            Command::ReplayAll(those, key) => {
                let filter = self.filter(*those);
                self.replay(ReplayChoice::Filter(filter), *key).await
            }
            Command::Look(those) => {
                let filter = self.filter(*those);
                self.look(&filter).await
            }
            Command::Hold { worker, gives } => self.hold(self.at(*worker), *gives).await,
            Command::Leave { worker, keeps } => self.leave(self.at(*worker), *keeps).await,
            Command::Plan { worker, limit } => self.plan(self.at(*worker), *limit).await,
            Command::Route(how, worker) => self.route(*how, self.at(*worker)).await,
            Command::Read { worker, limit } => self.read(self.at(*worker), *limit).await,
            Command::Settle(how, worker, some) => self.settle(*how, self.at(*worker), some).await,
            Command::SettleAgain(worker) => {
                let settled = self.settled.clone();
                self.write(How::Once, self.at(*worker), &settled).await
            }
            Command::WorkOff(how, worker) => self.work_off(*how, self.at(*worker)).await,
            Command::RouteWhileRemoved { worker, of } => {
                let worker = self.at(*worker);
                self.plan(worker, ALL).await?;
                self.remove(*of).await?;
                self.route(How::Once, worker).await
            }
            Command::CancelAndReplay { worker, of } => {
                let worker = self.at(*worker);
                let ids: Vec<DeliveryId> = self.delivery(*of).into_iter().collect();
                self.cancel(*of).await?;
                self.work_off(How::Once, worker).await?;
                let chosen = ReplayChoice::Deliveries(ids);
                self.replay(chosen, ReplayKey::Same).await?;
                self.work_off(How::Once, worker).await
            }
            Command::Wait(time) => {
                self.now = self.now + seconds(u64::from(*time));
                Ok(())
            }
            Command::Kill { worker, returns } => {
                self.kill(self.at(*worker), *returns).await;
                Ok(())
            }
            Command::RunOut(worker) => {
                let worker = self.lives[worker % self.lives.len()];
                if D::WORKERS > 1 {
                    self.database.run_out(worker).await;
                    self.model.leases.run_out(worker, self.start);
                }
                Ok(())
            }
        }
    }

    // === what small numbers name ===

    fn at(&self, worker: usize) -> usize {
        worker % self.workers.len()
    }

    fn subscription(&self, n: usize) -> SubscriptionId {
        self.subscriptions[n % self.subscriptions.len()]
    }

    fn delivery(&self, n: usize) -> Option<DeliveryId> {
        let all = self.model.deliveries(&DeliveryFilter::default());
        let n = n.checked_rem(all.len())?;
        Some(all[n].id)
    }

    fn filter(&self, those: Those) -> DeliveryFilter {
        let mut filter = DeliveryFilter::default();
        let event = |n: usize| {
            let n = n.checked_rem(self.events.len())?;
            Some(self.events[n])
        };
        let published = |n| Some(self.model.event(event(n)?).ok()?.published_at);
        match those {
            Those::Any => {}
            Those::Dead => filter.status = vec![Status::Ended(End::Dead)],
            Those::Delivered => filter.status = vec![Status::Ended(End::Delivered)],
            Those::Cancelled => {
                filter.status = vec![
                    Status::Ended(End::Cancelled),
                    Status::Ended(End::Expired),
                    Status::Ended(End::Refused),
                ];
            }
            Those::Unfinished => filter.status = vec![Status::Pending, Status::Retrying],
            Those::Held => filter.status = vec![Status::Held],
            Those::OfSubscription(n) => filter.subscription = vec![self.subscription(n)],
            Those::OfClient(n) => filter.client = Some(client(n)),
            Those::OfCampaign(n) => filter.campaign = Some(campaign(n)),
            Those::OfEvent(n) => filter.event = event(n),
            Those::Since(n) => filter.since = published(n),
            Those::Until(n) => filter.until = published(n),
        }
        filter
    }

    pub(crate) fn any(&self) -> &Store {
        &self.workers[0].store
    }

    // === what happens to workers ===

    /// Its process is gone, and another comes: by the same name, or by a new one.
    async fn kill(&mut self, n: usize, returns: bool) {
        let id = if returns {
            self.workers[n].id
        } else {
            name(self.lives.len())
        };
        if D::WORKERS == 1 {
            // Ownership goes with the process.
            self.model.leases.run_out(self.workers[n].id, self.start);
        }
        self.model.leases.forget(self.workers[n].id);
        let gone = self.workers.remove(n);
        drop(gone);
        let worker = Worker {
            store: self.database.open().await,
            id,
            lease: None,
            plan: Vec::new(),
        };
        self.workers.insert(n, worker);
        if !returns {
            self.lives.push(id);
        }
    }
}

fn name(n: usize) -> WorkerId {
    let n = u8::try_from(n).expect("few workers");
    WorkerId::new(Timestamp::from_millis(1_700_000_000_000), [n; 10])
}

fn campaign(n: u8) -> String {
    format!("campaign-{n}")
}

async fn give_up<T>(micros: u16, doing: impl Future<Output = T>) {
    let _ = tokio::time::timeout(Duration::from_micros(micros.into()), doing).await;
}
