use std::{
    future::Future,
    net::IpAddr,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tharsis_core::{
    DeliveryId, EventId, Invalid, SubscriptionId, Timestamp, WorkerId,
    egress::Policy,
    event::Event,
    profile::Profiles,
    secret::Keyring,
    subscription::{Credentials, Settings, Subscription},
};
use tharsis_dispatch::{
    CheckMethod, Client, ClientOptions, Metrics, Options as EngineOptions, Progress, Proxy,
    Summary, Until, Wake, check, system_now,
};
use tharsis_store::{
    By, Forgotten, Lease, Outbox, Pool, PublishOn, Published, Registry, Remaining, Shards, Store,
    StoreError, StoreOptions, WorkerRecord,
};

use crate::{Error, random};

/// What an [`Emitter`] is opened with. The default reaches the public internet and nothing else.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What may be reached.
    pub egress: Policy,
    /// Certificates in PEM, trusted beside the system's roots.
    pub ca_file: Option<PathBuf>,
    /// Addresses of this machine, of one family, that requests go out from, in turn; with none the system takes one.
    pub source_addresses: Vec<IpAddr>,
    /// What requests go through. It looks names up and judges addresses then.
    pub proxy: Option<Proxy>,
    /// The file of the keys that secrets are sealed with, on PostgreSQL: every process that subscribes or delivers, or looks
    /// at subscriptions or deliveries, needs the same ones. Who only publishes needs none. On SQLite it is always
    /// `<database>.key`.
    pub key_file: Option<PathBuf>,
    /// The keys themselves, in place of those in a file, on either database.
    pub keys: Option<Keyring>,
    /// How long after its last word a worker on PostgreSQL counts as gone, so that others take its work over: 15 s unless
    /// given, at least 1 s. Of no effect on SQLite, where ownership goes with the process.
    pub lease: Option<Duration>,
    /// The profiles that subscriptions may be of: those that come with the program, unless more are given. A worker holds
    /// what is subscribed under one that it does not know.
    pub profiles: Profiles,
    /// Fail with `database_not_found` where the SQLite file is not there, in place of making it.
    pub must_exist: bool,
    /// How the engine runs. When it ends is said by the method that runs it.
    pub engine: EngineOptions,
}

impl Options {
    fn store(&self) -> StoreOptions {
        StoreOptions {
            key_file: self.key_file.clone(),
            keys: self.keys.clone(),
            lease: self.lease,
            must_exist: self.must_exist,
            profiles: self.profiles.clone(),
        }
    }
}

/// The outbox of a campaign engine: publish into it, register who wants what, deliver from it.
///
/// Cheap to clone; every clone is the same outbox. Opening it starts nothing: requests go out while [`Emitter::run`]
/// runs, here or in another process on the same database.
#[derive(Debug, Clone)]
pub struct Emitter(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: Arc<Store>,
    options: Options,
    /// Made when it is first needed: who only publishes needs none.
    client: OnceLock<Client>,
    worker: WorkerId,
    wake: Wake,
    running: AtomicBool,
}

/// A run of the emitter, one at a time. However it ends, also when its future is dropped, the outbox is free then.
struct Running<'a>(&'a Parts);

impl<'a> Running<'a> {
    fn begin(parts: &'a Parts) -> Result<Self, StoreError> {
        if parts.running.swap(true, Ordering::AcqRel) {
            return Err(StoreError::Unusable {
                code: "already_owned",
                message: "this emitter delivers already, in another run".to_owned(),
                hint: "let that run go on, or end it first: an emitter and its clones run once at a time"
                    .to_owned(),
            });
        }
        Ok(Self(parts))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store.disown();
        self.0.running.store(false, Ordering::Release);
    }
}

impl Emitter {
    /// Opens `sqlite://PATH` or `postgres://USER@HOST/DATABASE?schema=SCHEMA`.
    ///
    /// An SQLite file is created and brought up to date where it has to be, and is switched to write-ahead logging and
    /// stays so. A schema of PostgreSQL (`tharsis` unless the URL names another) is only looked at: make it once with
    /// [`Emitter::migrate`] or `tharsis migrate`.
    ///
    /// # Errors
    /// When the database cannot be opened or is not one to be worked with: its schema missing or too new, its key missing
    /// or wrong.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn open() -> Result<(), tharsis::Error> {
    /// use tharsis::{Emitter, Options};
    ///
    /// let in_a_file = Emitter::open("sqlite://engine.db", Options::default()).await?;
    /// let options = Options {
    ///     key_file: Some("/etc/tharsis/tharsis.key".into()),
    ///     ..Options::default()
    /// };
    /// let in_a_server = Emitter::open("postgres://tharsis@db.internal/shop", options).await?;
    /// # Ok(()) }
    /// ```
    pub async fn open(url: &str, options: Options) -> Result<Self, Error> {
        Ok(Self(Arc::new(Parts {
            store: Arc::new(Store::open(url, &options.store()).await?),
            options,
            client: OnceLock::new(),
            worker: WorkerId::new(system_now(), random()?),
            wake: Wake::default(),
            running: AtomicBool::new(false),
        })))
    }

    /// Brings the database's schema up to what this program knows, creating what is not there, and returns the names of the
    /// migrations that it applied. Harmless to call again, and from several processes at once.
    ///
    /// Where the database knows no key to seal secrets with, the [key file](Emitter::key_file) is made too, if it is named.
    /// Where it knows one, a file that is not here is not missed.
    ///
    /// # Errors
    /// As [`Emitter::open`]; when the role may not create what is missing, or everybody may create something in the schema.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn migrate() -> Result<(), tharsis::Error> {
    /// use tharsis::{Emitter, Options};
    ///
    /// for name in Emitter::migrate("postgres://owner@db.internal/shop", &Options::default()).await? {
    ///     println!("applied {name}");
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn migrate(url: &str, options: &Options) -> Result<Vec<String>, Error> {
        Ok(Store::migrate(url, &options.store()).await?)
    }

    /// Makes the first key that secrets are sealed with, in the [key file](Emitter::key_file), and returns its id: where it is
    /// to be there before [`Emitter::migrate`], which makes it too. Another one takes its place by
    /// [`Registry::rotate_key`].
    ///
    /// # Errors
    /// `key_known` where the database seals with a key already, `key_file_exists` where there is such a file; as
    /// [`Emitter::open`].
    pub async fn init_key(url: &str, options: &Options, by: By<'_>) -> Result<String, Error> {
        Ok(Store::init_key(url, &options.store(), by).await?)
    }

    /// The id of the key that the database seals with, if it is there and knows one. Needs no key.
    ///
    /// # Errors
    /// As [`Emitter::open`].
    pub async fn known_key(url: &str, options: &Options) -> Result<Option<String>, Error> {
        Ok(Store::known_key(url, &options.store()).await?)
    }

    /// The file of the keys that secrets are sealed with, whether it is there or not: beside an SQLite file, else what the
    /// options name; `None` where the keys themselves are given.
    pub fn key_file(url: &str, options: &Options) -> Option<PathBuf> {
        Store::key_file(url, &options.store())
    }

    /// Whether opening it switched a file that had something in it to write-ahead logging: worth telling whoever else
    /// works with the file.
    pub fn switched_to_wal(&self) -> bool {
        self.0.store.switched_to_wal()
    }

    /// Publishes one event in a transaction of its own. It is durable when this returns; publishing the same event
    /// again returns the first id.
    ///
    /// # Errors
    /// `idempotency_conflict` when its explicit key was used with another payload; when the database fails.
    pub async fn publish(&self, event: &Event) -> Result<Published, Error> {
        let mut published = self.publish_all(std::slice::from_ref(event)).await?;
        match published.pop() {
            Some(published) => Ok(published?),
            None => Err(Error::Invalid(Invalid::new(
                "nothing_published",
                "the store answered for no event",
            ))),
        }
    }

    /// Publishes many events in few transactions. What is refused is reported in its place; the others are durable. Where
    /// all or none are to be published, use [`Emitter::publish_in`] with a transaction of your own.
    ///
    /// # Errors
    /// When the database fails. The first events of a large batch may be durable then: publish it again, and what is
    /// there already is recognised.
    pub async fn publish_all(
        &self,
        events: &[Event],
    ) -> Result<Vec<Result<Published, Invalid>>, Error> {
        let began = Instant::now();
        let answer = self.0.store.publish(events).await;
        self.asked_to_publish(began, &answer);
        match &answer {
            Ok(published) => published.iter().for_each(|each| self.count(each.as_ref())),
            Err(StoreError::Invalid(refused)) => {
                events.iter().for_each(|_| self.count(Err(refused)));
            }
            Err(_) => {}
        }
        let published = answer?;
        self.wake();
        Ok(published)
    }

    /// Publishes on the caller's own connection to the same database, in the caller's transaction if one is open: the
    /// event is published when the caller commits, and never if the caller rolls back. Hand over a transaction or a
    /// connection of [`sqlx`](crate::sqlx), to SQLite or to PostgreSQL as the emitter's own database is.
    ///
    /// Call [`Emitter::wake`] after the commit; without it the event goes out some milliseconds later.
    ///
    /// # Errors
    /// As [`Emitter::publish`]; `other_database` for a connection to the other kind of database. On SQLite
    /// `begin_immediate` when the transaction has read before it wrote and lost its place to another writer: begin it with
    /// `BEGIN IMMEDIATE`.
    ///
    /// # Examples
    /// ```no_run
    /// # use tharsis::{Emitter, Event, Options, sqlx};
    /// # async fn decide(event: &Event) -> Result<(), Box<dyn std::error::Error>> {
    /// let emitter = Emitter::open("postgres://engine@db.internal/shop", Options::default()).await?;
    /// let engine = sqlx::PgPool::connect("postgres://engine@db.internal/shop").await?;
    /// let mut transaction = engine.begin().await?;
    /// sqlx::query("INSERT INTO offer (shopper) VALUES ('3594918')").execute(&mut *transaction).await?;
    /// emitter.publish_in(&mut transaction, event).await?;
    /// transaction.commit().await?;
    /// emitter.wake();
    /// # Ok(()) }
    /// ```
    pub async fn publish_in<C: PublishOn>(
        &self,
        connection: &mut C,
        event: &Event,
    ) -> Result<Published, Error> {
        let id = EventId::new(system_now(), random()?);
        let began = Instant::now();
        let answer = self.0.store.publish_in(connection, event, id).await;
        self.asked_to_publish(began, &answer);
        match &answer {
            Ok(published) => self.count(Ok(published)),
            Err(StoreError::Invalid(refused)) => self.count(Err(refused)),
            Err(_) => {}
        }
        Ok(answer?)
    }

    /// A refusal is an answer too.
    fn asked_to_publish<T>(&self, began: Instant, answer: &Result<T, StoreError>) {
        let is_failure = !matches!(answer, Ok(_) | Err(StoreError::Invalid(_)));
        let took = began.elapsed();
        self.metrics().asked_to_publish(took, is_failure);
    }

    /// What was published before is not published again.
    fn count(&self, event: Result<&Published, &Invalid>) {
        match event {
            Ok(published) if published.duplicate => {}
            Ok(_) => self.metrics().published(1, 0),
            Err(_) => self.metrics().published(0, 1),
        }
    }

    /// Tells an engine that runs in this process that something was committed. Cheap, and never wrong to call.
    pub fn wake(&self) {
        self.0.wake.wake();
    }

    /// Checks that the URL is there, by the `method` that the profile says unless another is given, and adds the
    /// subscription. What is published from then on is offered to it.
    ///
    /// # Errors
    /// When the check fails, nothing is created; `name_taken` when the client has a subscription of this name;
    /// `check_not_allowed` where the profile leaves no choice; what [`Settings::accepts`] and
    /// [`Settings::accepts_headers`] refuse, before anything is sent.
    pub async fn subscribe(
        &self,
        settings: &Settings,
        credentials: &Credentials,
        method: Option<CheckMethod>,
    ) -> Result<Subscription, Error> {
        let by = By::from(system_now());
        self.subscribe_by(settings, credentials, method, by).await
    }

    /// [`Self::subscribe`], asked for by somebody whom the audit is to name.
    ///
    /// # Errors
    /// As that.
    pub async fn subscribe_by(
        &self,
        settings: &Settings,
        credentials: &Credentials,
        method: Option<CheckMethod>,
        by: By<'_>,
    ) -> Result<Subscription, Error> {
        settings.accepts(credentials.secret.as_ref())?;
        settings.accepts_headers(&credentials.headers)?;
        let method = CheckMethod::of(&settings.profile, method)?;
        let now = by.at;
        // Of an event and a subscription that nobody else hears of.
        let id = DeliveryId {
            event: EventId::new(now, random()?),
            subscription: SubscriptionId::new(now, random()?),
        };
        check(self.client()?, settings, credentials, method, id, now).await?;
        let subscription = self.0.store.add(settings, credentials, by).await?;
        self.wake();
        Ok(subscription)
    }

    /// Delivers until `shutdown` resolves. Then it stops claiming, lets requests in flight finish within the grace
    /// period, settles them and gives up ownership. Nothing is lost if it is killed instead.
    ///
    /// # Errors
    /// `already_owned` when another run of this emitter delivers already, or another process on SQLite; when the database
    /// is unusable.
    pub async fn run(&self, shutdown: impl Future<Output = ()> + Send) -> Result<Summary, Error> {
        self.deliver(Until::Shutdown, Box::pin(shutdown)).await
    }

    /// Delivers until nothing is left to do, or `shutdown` resolves. It waits for retries, not for what is paused,
    /// suspended or scheduled for later; the summary says what remains. [`std::future::pending`] is no shutdown.
    ///
    /// # Errors
    /// As [`Emitter::run`].
    pub async fn run_until_idle(
        &self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Summary, Error> {
        self.deliver(Until::Idle, Box::pin(shutdown)).await
    }

    /// Boxed, so that the engine is compiled here and not again in every program that runs it.
    fn deliver<'a>(
        &'a self,
        until: Until,
        shutdown: Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
    ) -> Pin<Box<dyn Future<Output = Result<Summary, Error>> + Send + 'a>> {
        Box::pin(async move {
            let options = EngineOptions {
                until,
                ..self.0.options.engine.clone()
            };
            let (client, wake) = (self.client()?.clone(), self.0.wake.clone());
            let store = self.0.store.clone();
            let _running = Running::begin(&self.0)?;
            Ok(
                tharsis_dispatch::run(store, client, self.0.worker, options, wake, shutdown)
                    .await?,
            )
        })
    }

    /// Takes ownership of delivery now: of all of it on SQLite, of a share beside other workers on PostgreSQL.
    /// [`Emitter::run`] does so by itself; this is for who wants to know before.
    ///
    /// # Errors
    /// `already_owned`, naming the owner, on SQLite.
    pub async fn own(&self) -> Result<Lease, Error> {
        let give = Shards::default();
        Ok(self.0.store.hold(self.0.worker, give).await?)
    }

    /// The workers that deliver from this database at present, this one among them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn workers(&self) -> Result<Vec<WorkerRecord>, Error> {
        Ok(self.0.store.workers().await?)
    }

    /// Its connections to the database, by what they are for.
    pub fn pools(&self) -> Vec<Pool> {
        self.0.store.pools()
    }

    /// What the engine of this process has done so far.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.0.options.engine.progress
    }

    /// What this process has done so far, in figures: what it published, what its engine did, what became of its requests.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.options.engine.metrics
    }

    /// What is not finished.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remaining(&self) -> Result<Remaining, Error> {
        Ok(self.0.store.remaining(system_now()).await?)
    }

    /// Forgets a chunk of what is [kept no longer](EngineOptions::retention), as workers do by themselves. Call it again while
    /// there is more. Workers go by the database's [clock](tharsis_store::Survey::clock), and so should you: what is forgotten does not come back.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget(&self, now: Timestamp) -> Result<Forgotten, Error> {
        let retention = &self.0.options.engine.retention;
        Ok(self.0.store.forget(retention, now).await?)
    }

    /// Subscriptions, the history, and what can be asked of the owner: replay, retry, cancel.
    pub fn registry(&self) -> &impl Registry {
        &*self.0.store
    }

    /// The one HTTP client, which every request of this emitter goes through. Made when it is first asked for.
    ///
    /// # Errors
    /// When the CA file, the machine's resolver configuration or a source address cannot be used.
    pub fn client(&self) -> Result<&Client, Error> {
        if let Some(client) = self.0.client.get() {
            return Ok(client);
        }
        let Options {
            egress,
            ca_file,
            source_addresses,
            proxy,
            ..
        } = &self.0.options;
        let client = Client::new(&ClientOptions {
            egress: egress.clone(),
            ca_file: ca_file.clone(),
            source_addresses: source_addresses.clone(),
            proxy: proxy.clone(),
            metrics: Arc::clone(self.metrics()),
        })?;
        // Whoever was first wins; the other one is dropped.
        Ok(self.0.client.get_or_init(|| client))
    }
}
