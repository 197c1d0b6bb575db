use std::{
    collections::{BTreeMap, HashMap},
    env,
    ffi::{OsStr, OsString},
    fmt::Write as _,
    fs::{self, File},
    future::Future,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use sqlx::PgConnection;
use tempfile::TempDir;
use tharsis::{
    Emitter, Registry, Secret, egress::Policy, profile::Profiles, subscription::Credentials,
    system_now,
};
use tharsis_receiver::Authority;
use tokio::{runtime::Runtime, task::JoinHandle};

use crate::{
    Clock, Database, Finished, InboxBuilder, Internet, Line, Running, Server, Subscribe,
    Subscription,
    leaks::{Leaks, MARK, Searched},
    line::{mark_of, uuid},
    oracle,
    place::{Place, Reader},
    program,
    wire::Wire,
};

/// What a command may take at most. Far above what any needs, so that only a hang reaches it.
const COMMAND_BOUND: Duration = Duration::from_secs(60);
/// What a whole drain may take at most.
const DRAIN_BOUND: Duration = Duration::from_secs(120);
/// What tells a process what is armed in it.
pub(crate) const FAILPOINT: &str = "THARSIS_FAILPOINT";
/// How much of each process' output a failed story shows.
const TAIL: usize = 4096;

/// A place of its own for one story: a temporary folder, a database (a file in it, or a schema of the server that the
/// tests were given), an authority, a configuration, a seed.
#[derive(Debug)]
pub struct World {
    folder: TempDir,
    authority: Authority,
    runtime: Runtime,
    seed: u64,
    random: Mutex<fastrand::Rng>,
    place: Place,
    ports: Mutex<Vec<u16>>,
    lease: Mutex<Option<String>>,
    /// What stands in the configuration beside all that.
    configured: Mutex<String>,
    environment: Mutex<Vec<(String, String)>>,
    processes: AtomicU32,
    /// Where its processes run, if not on this machine.
    internet: Option<Internet>,
    /// Held shared, or alone by one that measures.
    _turn: File,
}

/// What `publish` answered.
#[derive(Debug, Clone)]
pub struct Report {
    /// How many were written.
    pub published: u64,
    /// How many were there before.
    pub duplicates: u64,
    /// `(line, error)` of those that were refused.
    pub refused: Vec<(u64, Value)>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the id of an event stands on PostgreSQL.
const TABLES_OF_EVENTS: [(&str, &str); 5] = [
    ("event", "id"),
    ("outbox", "event"),
    ("delivery", "event"),
    ("attempt", "event"),
    ("idempotency", "event"),
];

impl World {
    /// A new one on SQLite, beside those of other stories. Its seed is that of `THARSIS_TEST_SEED`, or any.
    pub fn new() -> Self {
        Self::on(Database::Sqlite)
    }

    /// A new one on SQLite, when no other story is told, in this process or another. For stories that measure.
    pub fn alone() -> Self {
        Self::alone_on(Database::Sqlite)
    }

    /// As [`Self::new`], on either database.
    pub fn on(database: Database) -> Self {
        Self::beside_others(|_| Self::place(database))
    }

    /// As [`Self::alone`], on either database.
    pub fn alone_on(database: Database) -> Self {
        let turn = program::lock_file("stories.lock");
        turn.lock().expect("a file can be locked");
        Self::with(turn, seed(), |_| Self::place(database))
    }

    /// A new one whose seed is this, on SQLite, or in a schema of this server.
    pub fn seeded(seed: u64, server: Option<&Server>) -> Self {
        let turn = program::lock_file("stories.lock");
        turn.lock_shared().expect("a file can be locked");
        Self::with(turn, seed, |_| match server {
            None => Place::file(),
            Some(server) => Place::schema_on(server.url().to_owned(), story_name()),
        })
    }

    /// A new one in a PostgreSQL database of its own, where everything has the name that it has by default.
    pub fn in_its_own_database() -> Self {
        Self::beside_others(|runtime| {
            runtime
                .block_on(Place::new_database(story_name()))
                .expect("the server lets the tests make databases")
        })
    }

    /// A new one on SQLite, whose processes run on a host of an internet of their own and under the egress policy as it is by
    /// default; receivers are [`InboxBuilder::at`] addresses there. No server of PostgreSQL can be reached from there.
    pub fn on_the_internet() -> Self {
        let mut world = Self::new();
        world.internet = Some(Internet::lay());
        world.write_configuration();
        world
    }

    fn beside_others(place: impl FnOnce(&Runtime) -> Place) -> Self {
        let turn = program::lock_file("stories.lock");
        turn.lock_shared().expect("a file can be locked");
        Self::with(turn, seed(), place)
    }

    fn place(database: Database) -> Place {
        match database {
            Database::Sqlite => Place::file(),
            Database::Postgres => Place::new_schema(story_name()),
        }
    }

    fn with(turn: File, seed: u64, place: impl FnOnce(&Runtime) -> Place) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("tharsis-story-")
            .tempdir()
            .expect("there is a temporary folder");
        let authority = Authority::generate().expect("there is randomness");
        let runtime = Runtime::new().expect("there are threads");
        let world = Self {
            folder,
            authority,
            place: place(&runtime),
            runtime,
            seed,
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            ports: Mutex::new(Vec::new()),
            lease: Mutex::new(None),
            configured: Mutex::default(),
            environment: Mutex::new(Vec::new()),
            processes: AtomicU32::new(0),
            internet: None,
            _turn: turn,
        };
        fs::create_dir(world.path("logs")).expect("the folder is new");
        world.write("ca.pem", world.authority.pem());
        world.write_configuration();
        // A file is made by whoever opens it first.
        if world.is_on(Database::Postgres) {
            world.tharsis(["--json", "migrate"]).ok();
        }
        world
    }

    // What there is.

    /// A path in the world's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the world's folder.
    #[track_caller]
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("the world's folder can be written");
        path
    }

    /// Whether the outbox is in this kind of database.
    pub fn is_on(&self, database: Database) -> bool {
        matches!(self.place, Place::File(_)) == (database == Database::Sqlite)
    }

    /// The outbox's database, as the program takes it.
    pub fn database_url(&self) -> String {
        self.place.url(self.folder.path())
    }

    /// From now on the database is the file of this name in the world's folder, in place of `outbox.db`.
    pub fn use_file(&self, name: &str) {
        let Place::File(file) = &self.place else {
            panic!("this story's outbox is in no file");
        };
        name.clone_into(&mut file.lock().expect("nobody panics with it"));
        self.write_configuration();
    }

    /// From now on workers on PostgreSQL hold leases of this length (`1s`), in place of the default.
    pub fn lease(&self, length: &str) {
        *self.lease.lock().expect("nobody panics with it") = Some(length.to_owned());
        self.write_configuration();
    }

    /// From now on this stands in the configuration too.
    pub fn configure(&self, text: &str) {
        (self.configured.lock().expect("nobody panics with it")).push_str(text);
        self.write_configuration();
    }

    /// The internet that its processes are on.
    #[track_caller]
    pub fn internet(&self) -> &Internet {
        (self.internet.as_ref()).expect("this story's processes run on this machine")
    }

    /// Whose certificates the receivers show and the program trusts.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Files in PEM for a receiver that is not ours: a certificate for `localhost` that the program trusts, and its key.
    pub fn certificate(&self) -> (PathBuf, PathBuf) {
        let leaf = self
            .authority
            .issue(&[], None)
            .expect("a certificate can be made");
        let pem = |label: &str, der: &[u8]| {
            let mut text = format!("-----BEGIN {label}-----\n");
            // 48 bytes are the 64 characters of a line (RFC 7468).
            for line in der.chunks(48) {
                text.push_str(&BASE64_STANDARD.encode(line));
                text.push('\n');
            }
            text + &format!("-----END {label}-----\n")
        };
        let certificate = self.write("leaf.pem", pem("CERTIFICATE", &leaf.chain[0]));
        let key = self.write("leaf.key", pem("PRIVATE KEY", leaf.key.secret_der()));
        (certificate, key)
    }

    /// A generator of its own for one part of the story; the same for the same seed.
    pub fn random(&self) -> fastrand::Rng {
        self.random.lock().expect("nobody panics with it").fork()
    }

    /// A fresh secret, as the form would generate it, but for the [`MARK`] that it begins with.
    pub fn secret(&self) -> String {
        let mut random = self.random();
        format!("{MARK}{:016x}{:08x}", random.u64(..), random.u32(..))
    }

    /// A fresh client.
    pub fn client(&self) -> String {
        uuid(&mut self.random())
    }

    /// So many predictions of this client.
    pub fn predictions(&self, client: &str, count: usize) -> Vec<Line> {
        let mut random = self.random();
        (0..count)
            .map(|_| Line::prediction(&mut random, client))
            .collect()
    }

    /// So many nudges of this client.
    pub fn nudges(&self, client: &str, count: usize) -> Vec<Line> {
        let mut random = self.random();
        (0..count)
            .map(|_| Line::nudge(&mut random, client))
            .collect()
    }

    // What people do.

    /// A receiver on a free port. It answers 200 unless it is told otherwise.
    pub fn receiver(&self, name: &str) -> InboxBuilder<'_> {
        InboxBuilder::new(self, name)
    }

    /// Subscribes, and expects that it is granted.
    #[track_caller]
    pub fn subscribe(&self, subscribe: &Subscribe) -> Subscription {
        let name = subscribe.draft.name.clone();
        let answer = self.try_subscribe(subscribe).ok().json();
        let id = answer["id"].as_str().expect("a subscription has an id");
        Subscription {
            id: id.to_owned(),
            name,
        }
    }

    /// Subscribes, and lets the story judge.
    #[track_caller]
    pub fn try_subscribe(&self, subscribe: &Subscribe) -> Finished {
        let secret = match &subscribe.secret {
            Some(secret) => format!("--secret-file={}", self.secret_file(secret).display()),
            None => "--no-secret".to_owned(),
        };
        let mut arguments = vec!["--json", "subscription", "add", &secret];
        let flags = subscribe.flags();
        arguments.extend(flags.iter().map(String::as_str));
        self.tharsis(arguments)
    }

    /// Registers without a check, as a URL stands that was good once and no longer is.
    #[track_caller]
    pub fn subscribe_unchecked(&self, subscribe: &Subscribe) -> Subscription {
        let settings = subscribe
            .draft
            .settings(&self.egress(), &Profiles::default())
            .expect("a story gives good settings");
        let credentials = subscribe
            .secret
            .as_deref()
            .map(|secret| Secret::new(secret).expect("a story gives a good secret"))
            .map_or_else(Credentials::default, Credentials::from);
        let emitter = self.emitter();
        let added = emitter
            .registry()
            .add(&settings, &credentials, system_now());
        let subscription = self.block_on(added).expect("it can be added");
        Subscription {
            id: subscription.id.to_string(),
            name: subscribe.draft.name.clone(),
        }
    }

    /// A file that holds this secret and an end of line, as an editor would leave it.
    #[track_caller]
    pub fn secret_file(&self, secret: &str) -> PathBuf {
        self.write(
            &format!("secret-{}", uuid(&mut self.random())),
            format!("{secret}\n"),
        )
    }

    /// Publishes, and expects that every line is taken.
    #[track_caller]
    pub fn publish(&self, lines: &[Line]) -> Report {
        let text = lines.iter().fold(String::new(), |mut text, line| {
            text.push_str(&line.text);
            text.push('\n');
            text
        });
        let report = self.publish_text(text).ok();
        Report::read(&report.json())
    }

    /// Publishes this input, and lets the story judge.
    #[track_caller]
    pub fn publish_text(&self, text: impl AsRef<[u8]>) -> Finished {
        self.tharsis_reading(["--json", "publish", "-"], text)
    }

    /// Delivers until nothing is left but what is held or scheduled.
    #[track_caller]
    pub fn run_until_idle(&self) -> Finished {
        self.run_until_idle_at(Clock::default())
    }

    /// The same on a host with this clock.
    #[track_caller]
    pub fn run_until_idle_at(&self, clock: Clock) -> Finished {
        self.start_at(clock, ["--json", "run", "--until-idle"])
            .finish(DRAIN_BOUND)
            .ok()
    }

    /// Starts a worker that delivers until it is ended.
    #[track_caller]
    pub fn spawn_run(&self) -> Running {
        self.spawn(["run"])
    }

    /// The same on a host with this clock.
    #[track_caller]
    pub fn spawn_run_at(&self, clock: Clock) -> Running {
        self.start_at(clock, ["run"])
    }

    /// How many shards each worker has by its process id, as `worker list` shows it.
    #[track_caller]
    pub fn workers(&self) -> BTreeMap<u32, u32> {
        let answer = self.ask(["worker", "list"]);
        let workers = answer["workers"].as_array().expect("a list of workers");
        workers
            .iter()
            .map(|worker| {
                let number = |key: &str| {
                    let number = worker[key].as_u64().and_then(|n| u32::try_from(n).ok());
                    number.unwrap_or_else(|| panic!("no {key}: {worker}"))
                };
                (number("pid"), number("shards"))
            })
            .collect()
    }

    /// How many shards this worker has.
    #[track_caller]
    pub fn share_of(&self, worker: &Running) -> u32 {
        self.workers().get(&worker.id()).copied().unwrap_or(0)
    }

    /// The deliveries of `delivery list` with these flags.
    #[track_caller]
    pub fn deliveries(&self, flags: &[&str]) -> Vec<Value> {
        // A list that took long says how far it came.
        self.pages(flags, |answer| !answer["searched_until"].is_null())
    }

    /// Who did what to what, newest first.
    pub fn audit(&self) -> Vec<Value> {
        let page = self.ask(["audit", "list"]);
        page["entries"].as_array().expect("a list").clone()
    }

    /// All of them, however many there are.
    #[track_caller]
    pub fn all_deliveries(&self, flags: &[&str]) -> Vec<Value> {
        self.pages(&[&["--limit=10000"], flags].concat(), |_| true)
    }

    /// Those of a list, and of the next ones as long as it is to go on.
    #[track_caller]
    fn pages(&self, flags: &[&str], goes_on: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut deliveries = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let arguments = ["--json", "delivery", "list"].iter().chain(flags);
            let after_it = after.iter().flat_map(|after| ["--after", after]);
            let arguments = arguments.copied().chain(after_it);
            let mut answer = self.tharsis(arguments).ok().json();
            let Value::Array(page) = answer["deliveries"].take() else {
                panic!("`delivery list` gave {answer}");
            };
            deliveries.extend(page);
            match answer["next"].as_str() {
                Some(next) if goes_on(&answer) => after = Some(next.to_owned()),
                _ => return deliveries,
            }
        }
    }

    /// How many deliveries there are in each status.
    #[track_caller]
    pub fn statuses(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for delivery in self.all_deliveries(&[]) {
            let status = delivery["status"]
                .as_str()
                .expect("a delivery has a status");
            *counts.entry(status.to_owned()).or_default() += 1;
        }
        counts
    }

    /// The answer of `tharsis --json` with these arguments, which succeeds.
    #[track_caller]
    pub fn ask<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Value {
        self.tharsis(json(arguments)).ok().json()
    }

    /// The error of `tharsis --json` with these arguments, which fails.
    #[track_caller]
    pub fn refused<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Value {
        self.tharsis(json(arguments)).error()
    }

    /// Runs the program in the world's folder, where its configuration lies, and waits for its end.
    #[track_caller]
    pub fn tharsis<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Finished {
        self.start(arguments, Stdio::null()).finish(COMMAND_BOUND)
    }

    /// The same on a host with this clock.
    #[track_caller]
    pub fn tharsis_at<S: AsRef<OsStr>>(
        &self,
        clock: Clock,
        arguments: impl IntoIterator<Item = S>,
    ) -> Finished {
        self.start_at(clock, arguments).finish(COMMAND_BOUND)
    }

    /// The same where at most so many files may be open.
    #[track_caller]
    pub fn tharsis_with_files<S: AsRef<OsStr>>(
        &self,
        most: u32,
        arguments: impl IntoIterator<Item = S>,
    ) -> Finished {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")])
            .arg(program::path())
            .args(arguments);
        self.spawn_other(command).finish(COMMAND_BOUND)
    }

    /// The same, with something to read.
    #[track_caller]
    pub fn tharsis_reading<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        input: impl AsRef<[u8]>,
    ) -> Finished {
        let stdin = self.input(input);
        self.start(arguments, stdin).finish(COMMAND_BOUND)
    }

    fn input(&self, input: impl AsRef<[u8]>) -> Stdio {
        let path = self.write(&format!("input-{}", uuid(&mut self.random())), input);
        File::open(path).expect("it was just written").into()
    }

    /// Starts the program and leaves it running.
    #[track_caller]
    pub fn spawn<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Running {
        self.start(arguments, Stdio::null())
    }

    /// The same, with what is armed there: see `tharsis::store::failpoint`.
    #[track_caller]
    pub fn spawn_armed<S: AsRef<OsStr>>(
        &self,
        settings: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Running {
        let mut command = self.command(arguments);
        command.env(FAILPOINT, settings);
        Running::start(
            command,
            Stdio::null(),
            None,
            &self.log(OsStr::new("tharsis")),
        )
    }

    /// The same, with its standard output going elsewhere.
    #[track_caller]
    pub fn spawn_writing<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        stdout: Stdio,
    ) -> Running {
        let log = self.log(OsStr::new("tharsis"));
        Running::start(self.command(arguments), Stdio::null(), Some(stdout), &log)
    }

    /// An example of `examples/`, to be started with [`Self::spawn_other`].
    #[track_caller]
    pub fn example(&self, name: &str) -> Command {
        Command::new(program::of("tharsis-examples", name))
    }

    /// Starts another program in the world's folder and leaves it running.
    #[track_caller]
    pub fn spawn_other(&self, mut command: Command) -> Running {
        let name = Path::new(command.get_program())
            .file_stem()
            .unwrap_or_default()
            .to_owned();
        command.current_dir(self.folder.path());
        Running::start(command, Stdio::null(), None, &self.log(&name))
    }

    /// The same, with something to read, until it ends.
    #[track_caller]
    pub fn other_reading(&self, mut command: Command, input: &str) -> Finished {
        command.current_dir(self.folder.path());
        let stdin = self.input(input);
        Running::start(command, stdin, None, &self.log(OsStr::new("other"))).finish(COMMAND_BOUND)
    }

    /// The outbox, opened by this very process as an engine would embed it.
    #[track_caller]
    pub fn emitter(&self) -> Emitter {
        self.block_on(Emitter::open(&self.database_url(), self.options()))
            .expect("the world's database can be opened")
    }

    /// What the library is told in place of the configuration.
    pub fn options(&self) -> tharsis::Options {
        tharsis::Options {
            egress: self.egress(),
            ca_file: Some(self.path("ca.pem")),
            key_file: Some(self.path("tharsis.key")),
            ..tharsis::Options::default()
        }
    }

    /// A way to the outbox on PostgreSQL that counts what is asked on it.
    #[track_caller]
    pub fn wire(&self) -> Wire {
        self.block_on(self.place.wire())
            .expect("there is a free port")
    }

    /// The lines with this in them that processes of the world have written to standard error, killed ones too.
    pub fn said(&self, part: &str) -> Vec<String> {
        self.logs()
            .iter()
            .filter(|log| log.extension().is_some_and(|extension| extension == "err"))
            .flat_map(|log| {
                let text = fs::read(log).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                let lines: Vec<String> = text
                    .lines()
                    .filter(|line| line.contains(part))
                    .map(ToOwned::to_owned)
                    .collect();
                lines
            })
            .collect()
    }

    /// What is not as it always is in the outbox, or `ok`. Nobody may be at work.
    #[track_caller]
    pub fn integrity(&self) -> String {
        self.reading(async |reader| oracle::judge(reader).await)
    }

    /// A table of the outbox, as SQL of the story's own names it.
    pub fn table(&self, name: &str) -> String {
        match self.place.schema() {
            Some(schema) => format!("{schema}.{name}"),
            None => format!("tharsis_{name}"),
        }
    }

    /// The schema that the outbox lies in, on PostgreSQL.
    #[track_caller]
    pub fn schema(&self) -> &str {
        self.place
            .schema()
            .expect("this story's outbox is in PostgreSQL")
    }

    /// Runs a statement of SQL past the program, and says how many rows it changed.
    #[track_caller]
    pub fn execute(&self, statement: &str) -> u64 {
        self.reading(async |reader| reader.run(statement).await)
    }

    /// As if it had been told so many hours ago that what is held for this subscription will end.
    #[track_caller]
    pub fn was_warned(&self, subscription: &str, hours: i64) {
        let then = system_now().as_millis() - hours * 3_600_000;
        let hex = subscription.replace('-', "");
        let (at, id) = match self.is_on(Database::Sqlite) {
            true => (then.to_string(), format!("unhex('{hex}')")),
            false => (
                format!("to_timestamp({then} / 1000.0)"),
                format!("'{subscription}'::uuid"),
            ),
        };
        let (alert, of) = (self.table("alert"), self.table("subscription"));
        self.execute(&format!(
            "INSERT INTO {alert} (subscription, cause, raised_at, since, stage, count, due_at, outcome, ended_at)
             SELECT seq, 'delivery.expiring', {at}, {at}, 0, 1, {at}, 'told', {at} FROM {of} WHERE id = {id}"
        ));
    }

    /// Makes the events so many days older that a query past the program names by the keys of their rows, with what became
    /// of them.
    #[track_caller]
    pub fn age(&self, days: i64, events: &str) {
        const DAY: i64 = 86_400_000;
        if self.is_on(Database::Sqlite) {
            for statement in [
                "UPDATE tharsis_attempt SET at = at - AGE WHERE event IN (SELECT event FROM aged)",
                "UPDATE tharsis_event SET published_at = published_at - AGE WHERE seq IN (SELECT event FROM aged)",
            ] {
                let statement = statement.replace("AGE", &(days * DAY).to_string());
                self.execute(&format!("WITH aged (event) AS ({events}) {statement}"));
            }
            return;
        }
        // There the id tells when it was.
        let then = system_now().as_millis() - days * DAY;
        let aged =
            |id: &str| format!("('{then:012x}' || substr(replace({id}::text, '-', ''), 13))::uuid");
        let sets: Vec<String> = (TABLES_OF_EVENTS.iter())
            .map(|(table, id)| {
                let more = match *table {
                    "attempt" => format!(", at = at - interval '{days} days'"),
                    _ => String::new(),
                };
                let set = format!("{id} = {}{more}", aged(id));
                format!("of_{table} AS (UPDATE {table} SET {set} WHERE {id} IN (SELECT event FROM aged))")
            })
            .collect();
        self.execute(&format!(
            "WITH aged (event) AS MATERIALIZED ({events}), {} SELECT",
            sets.join(", ")
        ));
    }

    /// The first column of what SQL past the program selects, which is text.
    #[track_caller]
    pub fn select(&self, query: &str) -> Vec<String> {
        self.reading(async |reader| reader.texts(query).await)
    }

    /// The mark of each event in the outbox, by the event's id.
    #[track_caller]
    pub fn marks(&self) -> HashMap<String, String> {
        let id = if self.is_on(Database::Sqlite) {
            "lower(hex(id))"
        } else {
            "replace(id::text, '-', '')"
        };
        let events = self.select(&format!(
            "SELECT {id} || payload FROM {}",
            self.table("event")
        ));
        (events.iter())
            .map(|event| {
                let (id, payload) = event.split_at(32);
                let parts = [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]];
                (parts.join("-"), mark_of(payload.as_bytes()))
            })
            .collect()
    }

    /// A connection to PostgreSQL such as any program has, with the outbox's schema in its search path.
    #[track_caller]
    pub fn connect(&self) -> PgConnection {
        self.block_on(self.place.connect())
            .expect("the server can be reached")
    }

    #[track_caller]
    fn reading<T>(&self, read: impl AsyncFnOnce(&mut Reader) -> Result<T, sqlx::Error>) -> T {
        self.block_on(async {
            let mut reader = self.place.read(self.folder.path()).await?;
            read(&mut reader).await
        })
        .unwrap_or_else(|error| panic!("the database does not do what the story asks: {error}"))
    }

    /// What the configuration allows, as the library takes it.
    fn egress(&self) -> Policy {
        if self.internet.is_some() {
            return Policy::default();
        }
        let ports = self.ports.lock().expect("nobody panics with it");
        Policy {
            allow_addresses: vec![Policy::range("127.0.0.0/8").expect("it is a range")],
            allow_hosts: vec!["localhost".to_owned()],
            allow_ports: ports.clone(),
        }
    }

    /// Runs what is asynchronous.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Lets this go on beside the story, in its runtime.
    pub(crate) fn background<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.spawn(future)
    }

    /// From now on the program finds this in its environment.
    pub fn set_environment(&self, name: &str, value: &str) {
        let mut environment = self.environment.lock().expect("nobody panics with it");
        environment.push((name.to_owned(), value.to_owned()));
    }

    /// Allows this port in the configuration; receivers of the world do so by themselves.
    pub fn open_port(&self, port: u16) {
        self.ports.lock().expect("nobody panics with it").push(port);
        self.write_configuration();
    }

    fn write_configuration(&self) {
        // Held until it is written, so that what was set last is what stands there.
        let ports = self.ports.lock().expect("nobody panics with it");
        let lease = self.lease.lock().expect("nobody panics with it");
        let mut text = format!("database = \"{}\"\nlog = \"info\"\n", self.database_url());
        text.push_str("[egress]\nca_file = \"ca.pem\"\n");
        if self.internet.is_none() {
            write!(
                text,
                "allow_addresses = [\"127.0.0.0/8\"]\nallow_hosts = [\"localhost\"]\n\
                 allow_ports = {ports:?}\n"
            )
            .expect("a string takes everything");
        }
        if let Some(length) = &*lease {
            writeln!(text, "[engine]\nlease = \"{length}\"").expect("so does this");
        }
        text.push_str(&self.configured.lock().expect("nobody panics with it"));
        // Written beside and moved, for a command may be reading it.
        let path = self.write("tharsis.toml.new", text);
        fs::rename(path, self.path("tharsis.toml")).expect("both lie in the folder");
    }

    fn start<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        stdin: Stdio,
    ) -> Running {
        let log = self.log(OsStr::new("tharsis"));
        Running::start(self.command(arguments), stdin, None, &log)
    }

    fn start_at<S: AsRef<OsStr>>(
        &self,
        clock: Clock,
        arguments: impl IntoIterator<Item = S>,
    ) -> Running {
        let log = self.log(OsStr::new("tharsis"));
        let mut command = self.command(arguments);
        clock.set(&mut command);
        Running::start(command, Stdio::null(), None, &log)
    }

    /// The program in the world's folder, without what the test's own environment would tell it.
    fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = match &self.internet {
            Some(internet) => internet.command(program::path()),
            None => Command::new(program::path()),
        };
        command.args(arguments).current_dir(self.folder.path());
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"THARSIS_") {
                command.env_remove(name);
            }
        }
        // Should it panic, all that it says of it is searched for secrets.
        command.env("RUST_BACKTRACE", "1");
        command.envs(
            self.environment
                .lock()
                .expect("nobody panics with it")
                .iter()
                .cloned(),
        );
        command
    }

    /// Searches what the story leaves behind for its secrets.
    fn search(&self) -> Searched {
        let leaks = Leaks::of(self.folder.path());
        let mut searched = leaks.search(self.folder.path());
        if self.is_on(Database::Postgres) {
            // Not those of partitions, which their tables have in them.
            let tables = self.select(
                "SELECT relname::text FROM pg_class
                 WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition",
            );
            for table in tables {
                let holds = leaks.condition("line");
                let counted = self.select(&format!(
                    "SELECT coalesce(sum(length(line)), 0) || ' ' || count(*) FILTER (WHERE {holds})
                     FROM (SELECT one::text AS line FROM \"{table}\" AS one) AS lines"
                ));
                let (bytes, found) = counted[0].split_once(' ').expect("two numbers");
                let number = |text: &str| text.parse().expect("SQL counts");
                searched.table(&table, number(bytes), number(found));
            }
        }
        searched.tell();
        searched
    }

    /// What processes wrote to, oldest first.
    fn logs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("logs")).into_iter().flatten();
        let mut logs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        logs.sort();
        logs
    }

    fn log(&self, name: &OsStr) -> PathBuf {
        let number = self.processes.fetch_add(1, Ordering::Relaxed);
        let mut file = OsString::from(format!("{number:04}-"));
        file.push(name);
        self.path("logs").join(file)
    }
}

/// What lies on a server is removed. A story that failed says with which seed, and what its processes wrote last.
impl Drop for World {
    #[expect(clippy::print_stderr, reason = "this is what a failed test shows")]
    fn drop(&mut self) {
        if thread::panicking() {
            // Whatever it was that failed.
            let _ = self.runtime.block_on(self.place.remove());
        } else {
            let found = panic::catch_unwind(AssertUnwindSafe(|| self.search().found));
            let removed = self.runtime.block_on(self.place.remove());
            let found = found.unwrap_or_else(|panic| panic::resume_unwind(panic));
            assert!(found.is_empty(), "a secret is in {found:?}");
            removed.expect("nobody works on the story's outbox any more");
            return;
        }
        eprintln!("\nTell it again with THARSIS_TEST_SEED={}", self.seed);
        let logs = self.logs();
        for log in logs.iter().rev().take(18).rev() {
            let bytes = fs::read(log).unwrap_or_default();
            if !bytes.is_empty() {
                let tail = &bytes[bytes.len().saturating_sub(TAIL)..];
                eprintln!("--- {}\n{}", log.display(), String::from_utf8_lossy(tail));
            }
        }
    }
}

impl Report {
    /// Reads `{"published":n,"duplicates":n,"refused":[{"line":n,"error":…}]}`.
    #[track_caller]
    pub fn read(answer: &Value) -> Self {
        let count = |key: &str| {
            answer[key]
                .as_u64()
                .unwrap_or_else(|| panic!("no {key}: {answer}"))
        };
        let refused = answer["refused"].as_array().expect("a list of the refused");
        Self {
            published: count("published"),
            duplicates: count("duplicates"),
            refused: refused
                .iter()
                .map(|refused| {
                    let line = refused["line"].as_u64().expect("a line has a number");
                    (line, refused["error"].clone())
                })
                .collect(),
        }
    }
}

/// That of `THARSIS_TEST_SEED`, or any.
fn seed() -> u64 {
    match env::var("THARSIS_TEST_SEED") {
        Ok(seed) => seed.parse().expect("THARSIS_TEST_SEED is a number"),
        Err(_) => fastrand::u64(..),
    }
}

/// A name that no other world has, whatever its seed.
fn story_name() -> String {
    format!("story_{:032x}", fastrand::u128(..))
}

fn json<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Vec<OsString> {
    let arguments = arguments
        .into_iter()
        .map(|argument| argument.as_ref().to_owned());
    [OsString::from("--json")]
        .into_iter()
        .chain(arguments)
        .collect()
}
