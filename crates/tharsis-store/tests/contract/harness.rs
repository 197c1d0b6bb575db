//! Plain verbs for the stories.

use std::{collections::BTreeMap, time::Duration};

use tharsis_core::{
    ClientId, DeliveryId, SubscriptionId, Timestamp, WorkerId,
    delivery::End,
    egress::Policy,
    event::{Event, EventType},
    profile::Profiles,
    secret::Secret,
    subscription::{Draft, Settings, Subscription},
};
use tharsis_store::{
    Attempt, AuditRecord, DeliveryFilter, DeliveryRow, Due, Fate, LaneRead, Lease, Outbox,
    Position, Published, Registry, ReplayChoice, ReplayDraft, ReplayKey, RouteTo, Routed,
    Settlement, Shards, StoreOptions, postgres::PostgresStore,
};

pub(crate) use tharsis_store::Store;

pub(crate) use crate::schema::Schema;

/// An empty store in a folder that goes with the guard.
pub(crate) async fn sqlite() -> (Store, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("sqlite://{}", folder.path().join("tharsis.db").display());
    let store = Store::open(&url, &StoreOptions::default()).await;
    (store.expect("opens"), folder)
}

/// An empty store in a schema that goes with the guard.
pub(crate) async fn postgres() -> (Store, Schema) {
    let schema = Schema::new().await;
    (schema.open().await, schema)
}

impl Schema {
    /// A store on it, as another process would have it.
    pub(crate) async fn open(&self) -> Store {
        let store = PostgresStore::open(&self.url(), self.options()).await;
        Store::Postgres(store.expect("opens"))
    }
}

pub(crate) fn client(n: u8) -> ClientId {
    format!("b4aeba4e-a4c0-4896-866a-0000000000{n:02x}")
        .parse()
        .expect("a UUID")
}

/// An event of a type that needs an envelope; its number makes it another one.
pub(crate) fn event(client: ClientId, n: u32) -> Event {
    enveloped(client, n, "")
}

/// With more fields of the envelope: `"campaign":"spring",`.
pub(crate) fn enveloped(client: ClientId, n: u32, fields: &str) -> Event {
    let text = format!(r#"{{"type":"ticket","client":"{client}",{fields}"payload":{{"n":{n}}}}}"#);
    Event::parse(text.as_bytes()).expect("an event")
}

pub(crate) fn settings(client: ClientId, name: &str) -> Settings {
    wanting_tickets(&draft(client, name))
}

/// Of a profile whose receivers take several signatures.
pub(crate) fn standard(client: ClientId, name: &str) -> Settings {
    wanting_tickets(&Draft {
        profile: Some("standard".to_owned()),
        ..draft(client, name)
    })
}

pub(crate) fn draft(client: ClientId, name: &str) -> Draft {
    Draft {
        client: client.to_string(),
        name: name.to_owned(),
        url: format!("https://hooks.example.com/{}", name.len()),
        max_in_flight: Some(1_024),
        ..Draft::default()
    }
}

fn wanting_tickets(draft: &Draft) -> Settings {
    let mut settings = draft
        .settings(&Policy::default(), &Profiles::default())
        .expect("settings");
    // The store does not judge which types a profile has.
    settings.events = vec![EventType::new("ticket").expect("a type")];
    settings
}

pub(crate) fn secret(n: u8) -> Secret {
    Secret::generate(bytes(n))
}

/// As Standard Webhooks wants them.
pub(crate) fn standard_secret(n: u8) -> Secret {
    Secret::generate_standard(bytes(n))
}

fn bytes<const LENGTH: usize>(n: u8) -> [u8; LENGTH] {
    std::array::from_fn(|at| {
        n.wrapping_mul(37)
            .wrapping_add(at.try_into().unwrap_or(0))
            .wrapping_mul(101)
    })
}

pub(crate) fn worker(n: u8) -> WorkerId {
    WorkerId::new(Timestamp::from_millis(1_700_000_000_000), [n; 10])
}

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A store with its owner, two clients and a subscription of each.
pub(crate) struct House {
    pub(crate) store: Store,
    pub(crate) lease: Lease,
    /// The database's clock when the story began.
    pub(crate) now: Timestamp,
    pub(crate) ours: Subscription,
    pub(crate) theirs: Subscription,
    numbers: BTreeMap<SubscriptionId, i64>,
}

impl House {
    pub(crate) async fn new(store: Store) -> Self {
        let lease = store
            .hold(worker(1), Shards::default())
            .await
            .expect("the lease");
        let now = lease.clock;
        let mut house = Self {
            ours: add(&store, 1, "ours", now).await,
            theirs: add(&store, 2, "theirs", now).await,
            store,
            lease,
            now,
            numbers: BTreeMap::new(),
        };
        house.reload().await;
        house
    }

    /// Whether the owner is told of something.
    pub(crate) async fn changed(&self) -> bool {
        let changed = self.store.changed(&self.lease).await;
        changed.expect("asked").anything
    }

    /// The audit, newest first, but for the subscriptions that there were at first.
    pub(crate) async fn audit(&self) -> Vec<AuditRecord> {
        let page = self.store.audit(None, None, 100).await;
        let mut entries = page.expect("the audit").items;
        entries.retain(|entry| entry.action != "subscription.added");
        entries
    }

    /// Learns the short numbers of all subscriptions.
    pub(crate) async fn reload(&mut self) {
        let snapshot = self.store.snapshot().await.expect("a snapshot");
        for (number, target) in snapshot.targets {
            self.numbers.insert(target.subscription.id, number);
        }
    }

    pub(crate) fn number(&self, subscription: &Subscription) -> i64 {
        self.numbers[&subscription.id]
    }

    pub(crate) async fn publish(&self, events: &[Event]) -> Vec<Published> {
        self.store
            .publish(events)
            .await
            .expect("published")
            .into_iter()
            .map(|one| one.expect("not refused"))
            .collect()
    }

    /// Routes everything to whoever wants it, due at once.
    pub(crate) async fn route(&self) {
        loop {
            let routed = self.route_plan(100).await;
            if routed.is_empty() {
                return;
            }
            self.store
                .route(&self.lease, &routed)
                .await
                .expect("routed");
        }
    }

    pub(crate) async fn route_plan(&self, limit: u32) -> Vec<Routed> {
        let snapshot = self.store.snapshot().await.expect("a snapshot");
        let pointers = self
            .store
            .pointers(&self.lease, limit)
            .await
            .expect("pointers");
        assert_eq!(pointers.revision, snapshot.revision);
        pointers
            .events
            .iter()
            .map(|pointer| Routed {
                seq: pointer.seq,
                to: snapshot
                    .targets
                    .iter()
                    .filter(|(_, target)| target.wants(pointer.client, &pointer.event_type))
                    .map(|(subscription, _)| RouteTo {
                        subscription: *subscription,
                        due_at: self.now,
                        ends: None,
                    })
                    .collect(),
                frozen: None,
            })
            .collect()
    }

    /// Events of both clients, in turn, published and routed.
    pub(crate) async fn routed(&self, count: u32) -> Vec<Published> {
        let events: Vec<Event> = (0..count)
            .map(|n| event(client(1 + (n % 2) as u8), n))
            .collect();
        let published = self.publish(&events).await;
        self.route().await;
        published
    }

    /// What is due of one subscription at this instant.
    pub(crate) async fn due(&self, of: &Subscription, now: Timestamp) -> Vec<Due> {
        let lane = LaneRead {
            subscription: self.number(of),
            after: None,
            limit: 10_000,
            named: false,
        };
        self.store
            .due(&self.lease, &[lane], now)
            .await
            .expect("due")
            .due
    }

    pub(crate) async fn settle(&self, settlements: &[Settlement]) -> Vec<Position> {
        self.store
            .settle(&self.lease, settlements)
            .await
            .expect("settled")
    }

    /// Ends everything that is due of one subscription in this way.
    pub(crate) async fn end_all(&self, of: &Subscription, end: End) {
        let due = self.due(of, self.now + seconds(1_000_000)).await;
        let settlements: Vec<_> = due.iter().map(|d| self.ended(d, end)).collect();
        assert_eq!(self.settle(&settlements).await, []);
    }

    pub(crate) fn ended(&self, due: &Due, end: End) -> Settlement {
        let (code, status) = match end {
            End::Delivered => ("http_200", 200),
            _ => ("http_500", 500),
        };
        Settlement {
            position: due.position,
            event: due.id.event,
            attempts: due.attempts,
            attempt: Some(self.attempt(due.attempts + 1, code, status)),
            fate: Fate::Ended(end),
            key: None,
            suspend: None,
            certificate_ends: None,
        }
    }

    pub(crate) fn again(&self, due: &Due, due_at: Timestamp) -> Settlement {
        Settlement {
            fate: Fate::Again {
                due_at,
                spent: due.spent.and(due_at.since(self.now)),
            },
            ..self.ended(due, End::Dead)
        }
    }

    pub(crate) fn attempt(&self, number: u32, code: &str, status: u16) -> Attempt {
        Attempt {
            number,
            at: self.now + seconds(u64::from(number)),
            duration: Duration::from_micros(1_234),
            code: code.to_owned(),
            status: Some(status),
            excerpt: b"said \xff\x00".to_vec(),
            detail: Some("a detail".to_owned()),
        }
    }

    pub(crate) async fn row(&self, id: DeliveryId) -> DeliveryRow {
        self.store.delivery(id).await.expect("a delivery").row
    }

    pub(crate) async fn all(&self, filter: &DeliveryFilter) -> Vec<DeliveryRow> {
        let page = self
            .store
            .deliveries(filter, None, 10_000)
            .await
            .expect("a list");
        assert_eq!(page.next, None);
        let count = self.store.count(filter).await.expect("a count");
        assert_eq!(count, page.items.len() as u64, "count and list agree");
        page.items
    }

    /// Lets the owner do all that it was asked for.
    pub(crate) async fn work_off(&self, now: Timestamp) -> u32 {
        for chunks in 0.. {
            let done = self
                .store
                .work_off(&self.lease, now)
                .await
                .expect("worked off");
            if !done.more {
                assert_eq!(done.lanes, []);
                return chunks;
            }
        }
        unreachable!("the range has no end")
    }
}

pub(crate) async fn add(store: &Store, of: u8, name: &str, now: Timestamp) -> Subscription {
    store
        .add(&settings(client(of), name), &secret(of).into(), now)
        .await
        .expect("added")
}

/// The code of a refusal.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, tharsis_store::StoreError>) -> String {
    use tharsis_store::StoreError;
    match result.expect_err("refused") {
        StoreError::Invalid(invalid) => invalid.code.to_owned(),
        StoreError::NotFound { what, .. } => format!("no {what}"),
        StoreError::Unusable { code, .. } => code.to_owned(),
        StoreError::LeaseLost => "lease_lost".to_owned(),
        other => format!("{other:?}"),
    }
}

/// A replay of this, as an SRE asks for it.
pub(crate) fn asking(choice: &ReplayChoice, key: ReplayKey) -> ReplayDraft {
    let mut draft = ReplayDraft::new(choice.clone());
    draft.key = key;
    draft
}
