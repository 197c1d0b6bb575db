//! One story: a database, the processes that come to it, and the model beside it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    time::{Duration, Instant},
};

use tharsis_core::{
    DeliveryId, EventId, ReplayId, SubscriptionId, Timestamp, WorkerId,
    delivery::{End, codes},
    event::{Event, IdempotencyKey},
    subscription::Settings,
};
use tharsis_store::{
    Attempt, DeliveryFilter, Due, LaneRead, Lease, Outbox, Pointer, Position, Registry,
    ReplayChoice, RouteTo, Routed, Settlement, Shards, Status, StoreError,
    model::{Given, Model},
};

use crate::{
    command::{Command, Draft, Fate, How, Those},
    database::Database,
    harness::{client, code, enveloped, seconds, secret, settings},
};

/// What went differently.
pub(crate) type Told = Result<(), String>;

/// More than any story has.
const ALL: u32 = 10_000;

/// Every second shard.
const HALF: Shards = Shards(0x5555_5555_5555_5555);

pub(crate) struct Story<D: Database> {
    pub(crate) workers: Vec<Worker<D::Store>>,
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
    database: D,
}

/// A worker's process.
pub(crate) struct Worker<S> {
    pub(crate) store: S,
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

impl<D: Database> Story<D> {
    pub(crate) async fn tell(commands: &[Command]) -> Told {
        let mut story = Self::begin().await?;
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

    async fn begin() -> Result<Self, String> {
        let database = D::new().await;
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
        story.now = lease.store.clock;
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
            Command::Rename(of, name) => self.rename(*of, *name).await,
            Command::Rotate(of, n) => self.rotate(*of, *n).await,
            Command::Remove(of) => self.remove(*of).await,
            Command::Retry(of) => self.retry(*of).await,
            Command::Cancel(of) => self.cancel(*of).await,
            Command::Replay(these) => {
                let ids = these.iter().filter_map(|n| self.delivery(*n)).collect();
                self.replay(ReplayChoice::Deliveries(ids)).await
            }
            Command::ReplayAll(those) => {
                let filter = self.filter(*those);
                self.replay(ReplayChoice::Filter(filter)).await
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

    pub(crate) fn any(&self) -> &D::Store {
        &self.workers[0].store
    }

    // === publishers ===

    async fn publish(&mut self, how: How, drafts: &[Draft]) -> Told {
        let events: Vec<Event> = drafts.iter().map(|draft| self.event(draft)).collect();
        for once in times(how) {
            if let Some(micros) = once {
                give_up(micros, self.any().publish(&events)).await;
            }
            let answers = self.any().publish(&events).await.map_err(failed)?;
            let mut given = Vec::new();
            for answer in &answers {
                let id = match answer {
                    Ok(published) => published.id,
                    Err(_) => EventId::from_uuid(sqlx::types::Uuid::nil()),
                };
                let published_at = match self.any().event(id).await {
                    Ok(event) => event.published_at,
                    Err(_) => Timestamp::default(),
                };
                given.push(Given { id, published_at });
            }
            let expected = self.model.publish(&events, |place| given[place]);
            // Who gave up may have published.
            let says = |published: &tharsis_store::Published| {
                (published.id, once.is_some() || published.duplicate)
            };
            let answers: Vec<_> = answers
                .iter()
                .map(|one| one.as_ref().map(says).map_err(|why| why.code))
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|one| one.as_ref().map(says).map_err(|why| why.code))
                .collect();
            same("published", &answers, &expected)?;
            for (id, _) in answers.into_iter().flatten() {
                if !self.events.contains(&id) {
                    self.events.push(id);
                }
            }
        }
        Ok(())
    }

    fn event(&self, draft: &Draft) -> Event {
        let mut fields = String::new();
        if let Some(n) = draft.campaign {
            fields = format!(r#""campaign":"{}","#, campaign(n));
        }
        let after = |s: Option<u16>| s.map(|s| self.now + seconds(u64::from(s)));
        let starts = after(draft.starts);
        // Not before it starts: such an event is refused before it comes to a store.
        let expires =
            after(draft.expires).map(|at| starts.map_or(at, |from| at.max(from + seconds(1))));
        if let Some(at) = expires {
            fields += &format!(r#""expires_at":"{at}","#);
        }
        let mut event = enveloped(client(draft.client), draft.n.into(), &fields);
        if let Some(key) = draft.key {
            event = event.with_key(IdempotencyKey::new(&format!("key-{key}")).expect("a key"));
        }
        match starts {
            Some(at) => event.with_not_before(at).expect("it expires later"),
            None => event,
        }
    }

    async fn publish_by_sql(&mut self, of: u8, n: u8, expires: Option<u16>) -> Told {
        // Another one each time, for SQLite knows no keys here.
        let text = format!(r#"{{ "n": {n}, "of": {} }}"#, self.events.len());
        let expires = expires.map(|s| self.now + seconds(u64::from(s)));
        let id = self.database.publish(client(of), &text, expires).await;
        let published_at = self.any().event(id).await.map_err(failed)?.published_at;
        let size = text.len();
        let payload = bytes::Bytes::from(text);
        self.model.insert(payload.clone(), |seq| Pointer {
            seq,
            event: id,
            client: client(of),
            event_type: "signal".into(),
            published_at,
            not_before: None,
            expires_at: expires,
            size,
            unfrozen: Some(payload),
        });
        self.events.push(id);
        Ok(())
    }

    // === people ===

    async fn add(&mut self, of: u8, name: u8) -> Told {
        let settings = self.settings(of, name);
        let secret = secret(of);
        let answer = self.any().add(&settings, Some(&secret), self.now).await;
        let id = answer.as_ref().ok().map(|added| added.id);
        let snapshot = self.any().snapshot().await.map_err(failed)?;
        let mut targets = snapshot.targets.iter();
        let number = targets.find(|(_, target)| Some(target.subscription.id) == id);
        let number = number.map_or(0, |(number, _)| *number);
        let id = id.unwrap_or(SubscriptionId::from_uuid(sqlx::types::Uuid::nil()));
        let named = (id, number);
        let expected = self.model.add(named, &settings, Some(&secret), self.now);
        if answer.is_ok() {
            self.subscriptions.push(id);
        }
        same("added", &plain(answer), &plain(expected))
    }

    fn settings(&self, of: u8, name: u8) -> Settings {
        settings(client(of), ["one", "two", "three"][usize::from(name)])
    }

    async fn pause(&mut self, of: usize) -> Told {
        let id = self.subscription(of);
        let answer = self.any().pause(id, self.now).await;
        let expected = self.model.pause(id, self.now);
        same("paused", &plain(answer), &plain(expected))
    }

    async fn resume(&mut self, of: usize) -> Told {
        let id = self.subscription(of);
        let answer = self.any().resume(id, self.now).await;
        let expected = self.model.resume(id, self.now);
        same("resumed", &plain(answer), &plain(expected))
    }

    async fn rename(&mut self, of: usize, name: u8) -> Told {
        let id = self.subscription(of);
        let client = self.model.find(id).map_or(client(1), |s| s.settings.client);
        let settings = Settings {
            client,
            ..self.settings(1, name)
        };
        let answer = self.any().set(id, &settings, self.now).await;
        let expected = self.model.set(id, &settings, self.now);
        same("set", &plain(answer), &plain(expected))
    }

    async fn rotate(&mut self, of: usize, n: u8) -> Told {
        let id = self.subscription(of);
        let secret = Some(secret(n)).filter(|_| n > 0);
        let answer = self.any().rotate(id, secret.as_ref(), self.now).await;
        let expected = self.model.rotate(id, secret.as_ref(), self.now);
        same("rotated", &plain(answer), &plain(expected))?;
        let answer = self.any().secret(id).await;
        let answer = answer.map(|secret| secret == self.model.secret(id).ok().flatten());
        same(
            "secret",
            &plain(answer),
            &plain(self.model.secret(id).map(|_| true)),
        )
    }

    async fn remove(&mut self, of: usize) -> Told {
        let id = self.subscription(of);
        let answer = self.any().remove(id, self.now).await;
        let expected = self.model.remove(id, self.now);
        same("removed", &plain(answer), &plain(expected))
    }

    async fn retry(&mut self, of: usize) -> Told {
        let Some(id) = self.delivery(of) else {
            return Ok(());
        };
        let answer = self.any().retry(id, self.now).await;
        let expected = self.model.retry(id);
        same("asked for", &plain(answer.map(drop)), &plain(expected))
    }

    async fn cancel(&mut self, of: usize) -> Told {
        let Some(id) = self.delivery(of) else {
            return Ok(());
        };
        let answer = self.any().cancel(id, self.now).await;
        let expected = self.model.cancel(id);
        same("asked for", &plain(answer.map(drop)), &plain(expected))
    }

    async fn replay(&mut self, choice: ReplayChoice) -> Told {
        let answer = self.any().replay(&choice, self.now).await;
        let id = answer.as_ref().ok().map(|replay| replay.id);
        let id = id.unwrap_or(ReplayId::from_uuid(sqlx::types::Uuid::nil()));
        let expected = self.model.replay(id, &choice, self.now);
        if answer.is_ok() {
            self.replays.push(id);
        }
        same("replay", &plain(answer), &plain(expected))
    }

    // === workers ===

    async fn hold(&mut self, n: usize, gives: bool) -> Told {
        let worker = &mut self.workers[n];
        let surplus = worker.lease.as_ref().map(|lease| lease.store.surplus);
        let give = surplus.filter(|_| gives).unwrap_or_default();
        let answer = worker.store.hold(worker.id, give).await;
        let clock = answer.as_ref().map_or(self.now, |lease| lease.clock);
        let expected = self.model.hold(worker.id, give, self.start, clock);
        let says = |lease: &Lease| (lease.worker, lease.shards, lease.surplus);
        same(
            "lease",
            &plain(answer.as_ref().map(says)),
            &plain(expected.as_ref().map(says)),
        )?;
        worker.lease = answer
            .ok()
            .zip(expected.ok())
            .map(|(store, model)| Both { store, model });
        Ok(())
    }

    async fn leave(&mut self, n: usize, keeps: bool) -> Told {
        let worker = &mut self.workers[n];
        let Some(lease) = &worker.lease else {
            return Ok(());
        };
        // Half of what it has; where one process owns all or nothing, all.
        let some = if D::WORKERS == 1 { Shards::ALL } else { HALF };
        let keep = keeps.then_some(some.within(lease.store.owned()));
        let answer = worker.store.release(&lease.store, keep).await;
        let expected = self.model.release(&lease.model, keep, self.start, self.now);
        let says = |lease: &Option<Lease>| lease.map(|lease| (lease.shards, lease.surplus));
        same(
            "left",
            &plain(answer.as_ref().map(says)),
            &plain(expected.as_ref().map(says)),
        )?;
        worker.lease = match (answer, expected) {
            (Ok(Some(store)), Ok(Some(model))) => Some(Both { store, model }),
            _ => None,
        };
        Ok(())
    }

    /// Reads pointers and decides, as the engine does.
    async fn plan(&mut self, n: usize, limit: u32) -> Told {
        let worker = &self.workers[n];
        let Some(lease) = &worker.lease else {
            return Ok(());
        };
        let Ok(expected) = self.model.pointers(&lease.model, ALL) else {
            return Ok(());
        };
        let found = worker.store.pointers(&lease.store, limit).await;
        let found = found.map_err(failed)?;
        let snapshot = worker.store.snapshot().await.map_err(failed)?;
        same("revision", &snapshot.revision, &found.revision)?;
        self.compare_pointers(&found.events, &expected.events, limit)?;
        let numbers: BTreeMap<EventId, i64> = expected
            .events
            .iter()
            .map(|pointer| (pointer.event, pointer.seq))
            .collect();
        let plan = found.events.iter().map(|pointer| {
            let routed = decide(&snapshot, pointer, self.now);
            let model = Routed {
                seq: numbers[&pointer.event],
                ..routed.clone()
            };
            Both {
                store: routed,
                model,
            }
        });
        self.workers[n].plan = plan.collect();
        Ok(())
    }

    /// The first of each client, in order of publication.
    fn compare_pointers(&self, found: &[Pointer], all: &[Pointer], limit: u32) -> Told {
        let limit = usize::try_from(limit).expect("small");
        if all.len() <= limit || D::WORKERS == 1 {
            let first: Vec<String> = all.iter().take(limit).map(facts).collect();
            let found: Vec<String> = found.iter().map(facts).collect();
            return same("pointers", &found, &first);
        }
        if found.is_empty() || found.len() > limit {
            return Err(format!("{} pointers where {limit} are wanted", found.len()));
        }
        for of in [client(1), client(2)] {
            let of = |pointer: &&Pointer| pointer.client == of;
            let found: Vec<String> = found.iter().filter(of).map(facts).collect();
            let first = all.iter().filter(of).take(found.len());
            same("pointers", &found, &first.map(facts).collect())?;
        }
        Ok(())
    }

    async fn route(&mut self, how: How, n: usize) -> Told {
        if self.workers[n].plan.is_empty() {
            self.plan(n, ALL).await?;
        }
        let worker = &self.workers[n];
        let Some(lease) = &worker.lease else {
            return Ok(());
        };
        let store: Vec<Routed> = worker.plan.iter().map(|one| one.store.clone()).collect();
        let model: Vec<Routed> = worker.plan.iter().map(|one| one.model.clone()).collect();
        if store.is_empty() {
            return Ok(());
        }
        for once in times(how) {
            if let Some(micros) = once {
                give_up(micros, worker.store.route(&lease.store, &store)).await;
            }
            let answer = worker.store.route(&lease.store, &store).await;
            let expected = self.model.route(&lease.model, &model);
            same("routed", &plain(answer), &plain(expected))?;
        }
        self.workers[n].plan.clear();
        Ok(())
    }

    async fn read(&mut self, n: usize, limit: u32) -> Told {
        let worker = &self.workers[n];
        let Some(lease) = &worker.lease else {
            return Ok(());
        };
        let whole = self.lanes(ALL);
        let Ok(expected) = self.model.due(&lease.model, &whole, self.now) else {
            return Ok(());
        };
        let all = worker.store.due(&lease.store, &whole, self.now).await;
        let all = all.map_err(failed)?;
        let pairs = pair(&all.due, &expected.due)?;
        same(
            "what is due later",
            &in_order(&all.later),
            &in_order(&expected.later),
        )?;
        let first = self.lanes(limit);
        let some = worker.store.due(&lease.store, &first, self.now).await;
        let some = some.map_err(failed)?;
        self.compare_read(&all.due, &some.due, limit)?;
        self.read_on(n, &all.due).await?;
        for due in some.due {
            let both = pairs.iter().find(|both| both.store.id == due.id);
            let due = both.expect("it is among all").clone();
            self.reads.push(Read { due, at: self.now });
        }
        Ok(())
    }

    /// Of each lane the first.
    fn compare_read(&self, all: &[Due], some: &[Due], limit: u32) -> Told {
        let limit = usize::try_from(limit).expect("small");
        let mut seen: BTreeMap<i64, usize> = BTreeMap::new();
        let first = all.iter().filter(|due| {
            let seen = seen.entry(due.position.subscription).or_default();
            *seen += 1;
            *seen <= limit
        });
        let first: Vec<Position> = first.map(|due| due.position).collect();
        let some: Vec<Position> = some.iter().map(|due| due.position).collect();
        same("the first that are due", &some, &first)
    }

    /// After each position comes what comes after it.
    async fn read_on(&self, n: usize, all: &[Due]) -> Told {
        let worker = &self.workers[n];
        let (Some(lease), Some(middle)) = (&worker.lease, all.get(all.len() / 2)) else {
            return Ok(());
        };
        let after = middle.position;
        let lane = LaneRead {
            subscription: after.subscription,
            after: Some(after),
            limit: ALL,
        };
        let rest = worker.store.due(&lease.store, &[lane], self.now).await;
        let rest: Vec<Position> = rest
            .map_err(failed)?
            .due
            .iter()
            .map(|due| due.position)
            .collect();
        let expected = all.iter().map(|due| due.position);
        let expected = expected.filter(|at| at.subscription == after.subscription && *at > after);
        same("what comes after", &rest, &expected.collect())
    }

    pub(crate) fn lanes(&self, limit: u32) -> Vec<LaneRead> {
        let numbers = self
            .subscriptions
            .iter()
            .filter_map(|id| self.model.number(*id));
        let lane = |subscription| LaneRead {
            subscription,
            after: None,
            limit,
        };
        numbers.map(lane).collect()
    }

    async fn settle(&mut self, how: How, n: usize, some: &[(usize, Fate)]) -> Told {
        let mut settled: Vec<Both<Settlement>> = Vec::new();
        let mut named = BTreeSet::new();
        for (nth, fate) in some {
            // The newest is the first.
            let Some(of) = nth.checked_rem(self.reads.len()) else {
                return Ok(());
            };
            let read = self.reads[self.reads.len() - 1 - of].clone();
            // A batch names each delivery once.
            if named.insert(read.due.store.id) {
                settled.push(self.settlement(&read, *fate));
            }
        }
        self.write(how, n, &settled).await?;
        self.settled = settled;
        Ok(())
    }

    fn settlement(&mut self, read: &Read, fate: Fate) -> Both<Settlement> {
        use tharsis_store::Fate::{Again, Ended};
        self.durations += 1;
        let due = &read.due.store;
        let after = |s: u16| self.now + seconds(s.into()) + Duration::from_millis(self.durations);
        let (code, status, fate, tries) = match fate {
            Fate::Delivered => ("http_200", Some(200), Ended(End::Delivered), true),
            Fate::Dead => ("http_500", Some(500), Ended(End::Dead), true),
            Fate::Gone => ("http_410", Some(410), Ended(End::Dead), true),
            Fate::Expired => (codes::EXPIRED, None, Ended(End::Expired), true),
            Fate::Again(s) => {
                let again = Again {
                    due_at: after(s),
                    tries: due.tries + 1,
                };
                ("http_503", Some(503), again, true)
            }
            Fate::AtOnce => {
                let again = Again {
                    due_at: due.position.due_at,
                    tries: due.tries + 1,
                };
                ("http_503", Some(503), again, true)
            }
            Fate::Postponed(s) => {
                let again = Again {
                    due_at: after(s),
                    tries: due.tries,
                };
                ("local_resource", None, again, false)
            }
        };
        let attempt = Attempt {
            number: if code == codes::EXPIRED {
                0
            } else {
                due.attempts + 1
            },
            at: read.at,
            duration: Duration::from_micros(self.durations),
            code: code.to_owned(),
            status,
            excerpt: vec![b'x'; usize::try_from(self.durations % 3).expect("small")],
            detail: (self.durations % 2 == 0).then(|| "a detail".to_owned()),
        };
        let settlement = |due: &Due| Settlement {
            position: due.position,
            event: due.id.event,
            attempts: due.attempts,
            attempt: Some(attempt.clone()).filter(|_| tries),
            fate,
            disable: (code == "http_410").then_some("http_410"),
        };
        Both {
            store: settlement(&read.due.store),
            model: settlement(&read.due.model),
        }
    }

    async fn write(&mut self, how: How, n: usize, settled: &[Both<Settlement>]) -> Told {
        let worker = &self.workers[n];
        let Some(lease) = worker.lease.as_ref().filter(|_| !settled.is_empty()) else {
            return Ok(());
        };
        let store: Vec<Settlement> = settled.iter().map(|one| one.store.clone()).collect();
        let model: Vec<Settlement> = settled.iter().map(|one| one.model.clone()).collect();
        for once in times(how) {
            if let Some(micros) = once {
                give_up(micros, worker.store.settle(&lease.store, &store)).await;
            }
            let answer = worker.store.settle(&lease.store, &store).await;
            let expected = self.model.settle(&lease.model, &model);
            if once.is_some() && answer.is_ok() && expected.is_ok() {
                // What was done before is left alone now.
                continue;
            }
            let answer = answer.map(|left| places(&store, &left));
            let expected = expected.map(|left| places(&model, &left));
            same("left alone", &plain(answer), &plain(expected))?;
        }
        Ok(())
    }

    async fn work_off(&mut self, how: How, n: usize) -> Told {
        let worker = &self.workers[n];
        let Some(lease) = &worker.lease else {
            return Ok(());
        };
        let has_work = self.model.has_work(&lease.model);
        for once in times(how) {
            if let Some(micros) = once {
                give_up(micros, worker.store.work_off(&lease.store, self.now)).await;
            }
            let store = &worker.store;
            let mut touched = BTreeSet::new();
            let mut chunks = 0..1_000;
            let answer = loop {
                chunks.next().ok_or("there is always more")?;
                match store.work_off(&lease.store, self.now).await {
                    Ok(done) => {
                        touched.extend(done.lanes.iter().map(|lane| lane.subscription));
                        if !done.more {
                            break Ok(());
                        }
                    }
                    Err(error) => break Err(error),
                }
            };
            let mut wanted = BTreeSet::new();
            let expected = loop {
                match self.model.work_off(&lease.model, self.now) {
                    Ok(done) => {
                        wanted.extend(done.lanes.iter().map(|lane| lane.subscription));
                        if !done.more {
                            break Ok(());
                        }
                    }
                    Err(error) => break Err(error),
                }
            };
            // Where there is nothing to do, it need not be known that the lease is lost.
            if has_work || answer.is_err() {
                same("worked off", &plain(answer), &plain(expected))?;
            }
            if once.is_none() {
                same("lanes that were touched", &touched, &wanted)?;
            }
        }
        Ok(())
    }

    // === what happens to them ===

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

/// Whom an event goes to, and from when on.
fn decide(snapshot: &tharsis_store::Snapshot, pointer: &Pointer, now: Timestamp) -> Routed {
    let due_at = pointer.not_before.map_or(now, |at| at.max(now));
    let ends = pointer
        .expires_at
        .filter(|at| *at <= due_at)
        .map(|_| (End::Expired, codes::EXPIRED));
    let frozen = pointer
        .unfrozen
        .as_ref()
        .map(|text| Event::freeze(&pointer.event_type, pointer.client, text).map(Box::new));
    let wanting = snapshot
        .targets
        .iter()
        .filter(|(_, target)| target.wants(pointer.client, &pointer.event_type));
    let to = wanting.map(|(subscription, _)| RouteTo {
        subscription: *subscription,
        due_at,
        ends,
    });
    Routed {
        seq: pointer.seq,
        to: to.collect(),
        frozen,
    }
}

fn facts(pointer: &Pointer) -> String {
    let pointer = Pointer {
        seq: 0,
        ..pointer.clone()
    };
    format!("{pointer:?}")
}

/// How often, and whether it is given up before.
fn times(how: How) -> Vec<Option<u16>> {
    match how {
        How::Once => vec![None],
        How::Twice => vec![None, None],
        How::GivenUp(micros) => vec![Some(micros)],
    }
}

async fn give_up<T>(micros: u16, doing: impl Future<Output = T>) {
    let _ = tokio::time::timeout(Duration::from_micros(micros.into()), doing).await;
}

/// The places of those that were left alone.
fn places(settled: &[Settlement], left: &[Position]) -> Vec<usize> {
    let place = |at: &Position| settled.iter().position(|one| one.position == *at);
    let mut places: Vec<usize> = left.iter().filter_map(place).collect();
    places.sort_unstable();
    places
}

/// The same rows, in an order that both have.
pub(crate) fn pair(found: &[Due], expected: &[Due]) -> Result<Vec<Both<Due>>, String> {
    if !found.is_sorted_by_key(|due| due.position) {
        return Err(format!("what is due is not in order: {found:#?}"));
    }
    let line = |due: &Due| {
        let due = Due {
            position: Position {
                seq: 0,
                ..due.position
            },
            ..due.clone()
        };
        format!("{due:?}")
    };
    let sorted = |rows: &[Due]| {
        let mut rows = rows.to_vec();
        rows.sort_by_key(|due| (due.position.subscription, due.position.due_at, due.id));
        rows
    };
    let (store, model) = (sorted(found), sorted(expected));
    let lines = |rows: &[Due]| rows.iter().map(line).collect::<Vec<_>>();
    same("what is due", &lines(&store), &lines(&model))?;
    let both = store.into_iter().zip(model);
    Ok(both.map(|(store, model)| Both { store, model }).collect())
}

pub(crate) fn in_order(lanes: &[tharsis_store::Pending]) -> Vec<(i64, Timestamp)> {
    let mut lanes: Vec<_> = lanes.iter().map(|l| (l.subscription, l.due_at)).collect();
    lanes.sort_unstable();
    lanes
}

pub(crate) fn failed(error: StoreError) -> String {
    format!("the store failed: {error:?}")
}

/// An answer, of which a refusal says its code.
pub(crate) fn plain<T, E: Coded>(answer: Result<T, E>) -> Result<T, String> {
    answer.map_err(Coded::code)
}

pub(crate) trait Coded {
    fn code(self) -> String;
}

impl Coded for StoreError {
    fn code(self) -> String {
        code::<()>(Err(self))
    }
}

impl Coded for &StoreError {
    fn code(self) -> String {
        match self {
            StoreError::LeaseLost => "lease_lost".to_owned(),
            other => format!("{other:?}"),
        }
    }
}

pub(crate) fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Told {
    if found == expected {
        return Ok(());
    }
    Err(format!(
        "{what} differs:\n   found {found:?}\nexpected {expected:?}"
    ))
}
