use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::Write as _,
    fs::{self, File},
    future::Future,
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
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;
use tharsis::{Emitter, Registry, Secret, egress::Policy, system_now};
use tharsis_receiver::Authority;
use tokio::runtime::Runtime;

use crate::{Finished, InboxBuilder, Line, Running, Subscribe, Subscription, line::uuid, program};

/// What a command may take at most. Far above what any needs, so that only a hang reaches it.
const COMMAND_BOUND: Duration = Duration::from_secs(60);
/// What a whole drain may take at most.
const DRAIN_BOUND: Duration = Duration::from_secs(120);
/// How much of each process' output a failed story shows.
const TAIL: usize = 4096;

/// A place of its own for one story: a temporary folder with a database, an authority, a configuration, a seed.
#[derive(Debug)]
pub struct World {
    folder: TempDir,
    authority: Authority,
    runtime: Runtime,
    seed: u64,
    random: Mutex<fastrand::Rng>,
    database: Mutex<String>,
    ports: Mutex<Vec<u16>>,
    environment: Mutex<Vec<(String, String)>>,
    processes: AtomicU32,
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

impl World {
    /// A new one, beside those of other stories. Its seed is that of `THARSIS_TEST_SEED`, or any.
    pub fn new() -> Self {
        let turn = program::lock_file("stories.lock");
        turn.lock_shared().expect("a file can be locked");
        Self::with(turn)
    }

    /// A new one, when no other story is told, in this process or another. For stories that measure.
    pub fn alone() -> Self {
        let turn = program::lock_file("stories.lock");
        turn.lock().expect("a file can be locked");
        Self::with(turn)
    }

    fn with(turn: File) -> Self {
        let seed = match env::var("THARSIS_TEST_SEED") {
            Ok(seed) => seed.parse().expect("THARSIS_TEST_SEED is a number"),
            Err(_) => fastrand::u64(..),
        };
        let folder = tempfile::Builder::new()
            .prefix("tharsis-story-")
            .tempdir()
            .expect("there is a temporary folder");
        let authority = Authority::generate().expect("there is randomness");
        let world = Self {
            folder,
            authority,
            runtime: Runtime::new().expect("there are threads"),
            seed,
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            database: Mutex::new("outbox.db".to_owned()),
            ports: Mutex::new(Vec::new()),
            environment: Mutex::new(Vec::new()),
            processes: AtomicU32::new(0),
            _turn: turn,
        };
        fs::create_dir(world.path("logs")).expect("the folder is new");
        world.write("ca.pem", world.authority.pem());
        world.write_configuration(&[]);
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

    /// The database.
    pub fn database_url(&self) -> String {
        let name = self.database.lock().expect("nobody panics with it");
        format!("sqlite://{}", self.path(&name).display())
    }

    /// From now on the database is the file of this name in the world's folder, in place of `outbox.db`.
    pub fn use_database(&self, name: &str) {
        name.clone_into(&mut self.database.lock().expect("nobody panics with it"));
        self.write_configuration(&self.ports.lock().expect("nobody panics with it"));
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

    /// A fresh secret, as the form would generate it.
    pub fn secret(&self) -> String {
        let mut random = self.random();
        format!("{:032x}{:08x}", random.u128(..), random.u32(..))
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
            .settings(&self.egress())
            .expect("a story gives good settings");
        let secret = subscribe
            .secret
            .as_deref()
            .map(|secret| Secret::new(secret).expect("a story gives a good secret"));
        let emitter = self.emitter();
        let added = emitter
            .registry()
            .add(&settings, secret.as_ref(), system_now());
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
        self.start(["--json", "run", "--until-idle"], Stdio::null())
            .finish(DRAIN_BOUND)
            .ok()
    }

    /// Starts a worker that delivers until it is ended.
    #[track_caller]
    pub fn spawn_run(&self) -> Running {
        self.spawn(["run"])
    }

    /// The deliveries of `delivery list` with these flags.
    #[track_caller]
    pub fn deliveries(&self, flags: &[&str]) -> Vec<Value> {
        let arguments = ["--json", "delivery", "list"].iter().chain(flags);
        let answer = self.tharsis(arguments).ok().json();
        let Value::Array(deliveries) = answer["deliveries"].clone() else {
            panic!("`delivery list` gave {answer}");
        };
        deliveries
    }

    /// How many deliveries there are in each status.
    #[track_caller]
    pub fn statuses(&self) -> std::collections::BTreeMap<String, usize> {
        let mut counts = std::collections::BTreeMap::new();
        for delivery in self.deliveries(&["--limit=100000"]) {
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

    /// The same, with something to read.
    #[track_caller]
    pub fn tharsis_reading<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        input: impl AsRef<[u8]>,
    ) -> Finished {
        let path = self.write(&format!("input-{}", uuid(&mut self.random())), input);
        let file = File::open(path).expect("it was just written");
        self.start(arguments, file.into()).finish(COMMAND_BOUND)
    }

    /// Starts the program and leaves it running.
    #[track_caller]
    pub fn spawn<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Running {
        self.start(arguments, Stdio::null())
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

    /// The outbox, opened by this very process as an engine would embed it.
    #[track_caller]
    pub fn emitter(&self) -> Emitter {
        let options = tharsis::Options {
            egress: self.egress(),
            ca_file: Some(self.path("ca.pem")),
            ..tharsis::Options::default()
        };
        self.block_on(Emitter::open(&self.database_url(), options))
            .expect("the world's database can be opened")
    }

    /// What SQLite thinks of its file: `ok`.
    #[track_caller]
    pub fn integrity(&self) -> String {
        let url = self.database_url();
        self.block_on(async {
            let mut connection = SqliteConnection::connect(&url).await?;
            sqlx::query_scalar("PRAGMA integrity_check")
                .fetch_one(&mut connection)
                .await
        })
        .expect("the database can be read")
    }

    /// What the configuration allows, as the library takes it.
    fn egress(&self) -> Policy {
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

    /// From now on the program finds this in its environment.
    pub fn set_environment(&self, name: &str, value: &str) {
        let mut environment = self.environment.lock().expect("nobody panics with it");
        environment.push((name.to_owned(), value.to_owned()));
    }

    /// Allows this port in the configuration; receivers of the world do so by themselves.
    pub fn open_port(&self, port: u16) {
        let mut ports = self.ports.lock().expect("nobody panics with it");
        ports.push(port);
        self.write_configuration(&ports);
    }

    fn write_configuration(&self, ports: &[u16]) {
        let mut text = format!("database = \"{}\"\nlog = \"info\"\n", self.database_url());
        write!(
            text,
            "[egress]\nallow_addresses = [\"127.0.0.0/8\"]\nallow_hosts = [\"localhost\"]\n\
             allow_ports = {ports:?}\nca_file = \"ca.pem\"\n"
        )
        .expect("a string takes everything");
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

    /// The program in the world's folder, without what the test's own environment would tell it.
    fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(program::path());
        command.args(arguments).current_dir(self.folder.path());
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"THARSIS_") {
                command.env_remove(name);
            }
        }
        command.envs(
            self.environment
                .lock()
                .expect("nobody panics with it")
                .iter()
                .cloned(),
        );
        command
    }

    fn log(&self, name: &OsStr) -> PathBuf {
        let number = self.processes.fetch_add(1, Ordering::Relaxed);
        let mut file = OsString::from(format!("{number:04}-"));
        file.push(name);
        self.path("logs").join(file)
    }
}

/// A story that failed says with which seed, and what its processes wrote last.
impl Drop for World {
    #[expect(clippy::print_stderr, reason = "this is what a failed test shows")]
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        eprintln!("\nTell it again with THARSIS_TEST_SEED={}", self.seed);
        let Ok(entries) = fs::read_dir(self.path("logs")) else {
            return;
        };
        let mut logs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        logs.sort();
        for log in logs.iter().rev().take(12).rev() {
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

fn json<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Vec<OsString> {
    let arguments = arguments
        .into_iter()
        .map(|argument| argument.as_ref().to_owned());
    [OsString::from("--json")]
        .into_iter()
        .chain(arguments)
        .collect()
}
