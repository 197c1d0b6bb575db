//! Chaos by the thousand: worlds side by side, until so many processes were killed. `make chaos KILLS=5000`.
//!
//! `chaos [--kills N] [--seed S] [--beside N] [--world N] [--folder PATH]`. Each world's plan is drawn from the seed and
//! the world's number. What became of a world is a line of JSON in `FOLDER/SEED.ndjson`, so that a run that was
//! interrupted goes on where it was when it is started with the same seed. It ends with 1 if a promise was not kept.

use std::{
    any::Any,
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    pin::pin,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::{Value, json};
use tharsis_tests::{
    Database, Server,
    chaos::{Figures, Plan, Told, tell},
};

/// Kills in one world.
const KILLS: u64 = 25;

/// When so many worlds have broken a promise, no more are told.
const ENOUGH: usize = 10;

fn main() -> anyhow::Result<ExitCode> {
    let campaign = Campaign::of(std::env::args().skip(1))?;
    thread::scope(|scope| {
        scope.spawn(|| campaign.watch_for_signals());
        for number in 0..campaign.beside {
            let campaign = &campaign;
            scope.spawn(move || campaign.work(number));
        }
    });
    campaign.conclude()
}

/// One run of many worlds.
struct Campaign {
    seed: u64,
    /// How many kills there are to be.
    kills: u64,
    /// Only this world.
    only: Option<u64>,
    /// Worlds at once.
    beside: u64,
    folder: PathBuf,
    next: AtomicU64,
    stop: AtomicBool,
    done: Mutex<Done>,
    begin: Instant,
}

/// What became of worlds so far.
struct Done {
    file: File,
    told: BTreeMap<u64, Value>,
    /// Worlds that are being told, and who does that.
    under_way: u64,
    at_work: u64,
}

impl Campaign {
    fn of(arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let (mut kills, mut seed, mut beside, mut only) = (200, fastrand::u64(..), 3, None);
        let mut folder = PathBuf::from("target/chaos");
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            let value = arguments.next();
            let value = value.with_context(|| format!("{name} wants a value"))?;
            let number = || {
                value
                    .parse()
                    .with_context(|| format!("{name} wants a number"))
            };
            match name.as_str() {
                "--kills" => kills = number()?,
                "--seed" => seed = number()?,
                "--beside" => beside = number()?,
                "--world" => only = Some(number()?),
                "--folder" => folder = value.into(),
                _ => anyhow::bail!(
                    "there is no {name}; there are --kills --seed --beside --world --folder"
                ),
            }
        }
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{seed}.ndjson"));
        // One world alone is told again, whatever became of it.
        let told = match only {
            Some(_) => BTreeMap::new(),
            None => read(&path)?,
        };
        say(&format!(
            "seed {seed}: {kills} kills, some {KILLS} in each world; {} worlds are told already; what became of them is in {}",
            told.len(),
            path.display()
        ));
        Ok(Self {
            seed,
            kills,
            only,
            beside,
            folder,
            next: AtomicU64::new(only.unwrap_or(0)),
            stop: AtomicBool::new(false),
            done: Mutex::new(Done {
                file: OpenOptions::new().create(true).append(true).open(path)?,
                told,
                under_way: 0,
                at_work: beside,
            }),
            begin: Instant::now(),
        })
    }

    /// The first signal lets go of the worlds that are being told, which ends their processes.
    fn watch_for_signals(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("there are threads");
        runtime.block_on(async {
            let mut look = tokio::time::interval(Duration::from_millis(100));
            let mut signalled = pin!(signal());
            loop {
                tokio::select! {
                    () = &mut signalled, if !self.stop.load(Ordering::Relaxed) => {
                        say("interrupted; started with the same seed it goes on where it was");
                        self.stop.store(true, Ordering::Relaxed);
                    }
                    _ = look.tick() => {
                        if self.lock().at_work == 0 {
                            return;
                        }
                    }
                }
            }
        });
    }

    /// Tells one world after the other, each on this one's server.
    fn work(&self, number: u64) {
        let folder = self.folder.join(format!("server-{number}"));
        match catch_unwind(|| Server::start(&folder)) {
            Ok(server) => {
                while let Some(world) = self.next() {
                    self.tell(world, &server);
                    self.lock().under_way -= 1;
                }
            }
            Err(panic) => say(&format!("no server: {}", message(&*panic))),
        }
        self.lock().at_work -= 1;
    }

    /// The next world, as long as those that are told and those that are being told lack kills.
    fn next(&self) -> Option<u64> {
        let mut done = self.lock();
        let expected = done.kills() + done.under_way * KILLS;
        let failed = done.told.values().filter(|line| broke_a_promise(line));
        if failed.count() >= ENOUGH {
            return None;
        }
        let enough = match self.only {
            Some(_) => done.under_way > 0 || !done.told.is_empty(),
            None => expected >= self.kills,
        };
        if enough || self.stop.load(Ordering::Relaxed) {
            return None;
        }
        done.under_way += 1;
        loop {
            let world = self.next.fetch_add(1, Ordering::Relaxed);
            if !done.told.contains_key(&world) {
                return Some(world);
            }
        }
    }

    fn tell(&self, world: u64, server: &Server) {
        // Two of three are on PostgreSQL, where more can go wrong.
        let database = if world.is_multiple_of(3) {
            Database::Sqlite
        } else {
            Database::Postgres
        };
        let mut seed = fastrand::Rng::with_seed(
            self.seed
                .wrapping_add(world.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        );
        let kills = usize::try_from(KILLS).expect("it is small");
        let plan = Plan::draw(seed.u64(..), database, kills);
        let begin = Instant::now();
        let told = catch_unwind(AssertUnwindSafe(|| {
            // The world before may have left it down.
            server.up();
            tell(&plan, Some(server), &self.stop)
        }));
        let told = match told {
            Ok(None) => return,
            Ok(Some(told)) => Ok(told),
            Err(_) if self.stop.load(Ordering::Relaxed) => return,
            Err(panic) => Err(message(&*panic)),
        };
        let line = line(world, &plan, &told, begin.elapsed().as_secs());
        let mut done = self.lock();
        // The line is what a run that is interrupted goes on from.
        if let Err(error) = writeln!(done.file, "{line}") {
            say(&format!(
                "cannot write down what became of world {world}: {error}"
            ));
        }
        done.told.insert(world, line.clone());
        say(&format!(
            "{}/{}  {}",
            done.kills(),
            self.kills,
            in_words(&line)
        ));
    }

    fn conclude(self) -> anyhow::Result<ExitCode> {
        let (seed, seconds) = (self.seed, self.begin.elapsed().as_secs());
        let told = self
            .done
            .into_inner()
            .map_err(|_| anyhow::anyhow!("a world took the others along"))?
            .told;
        let sum = |key: &str| {
            told.values()
                .filter_map(|line| line[key].as_u64())
                .sum::<u64>()
        };
        let most = |key: &str| {
            told.values()
                .filter_map(|line| line[key].as_u64())
                .max()
                .unwrap_or(0)
        };
        say(&format!(
            "{} worlds, {} kills, {} events, {} deliveries, {} requests, {} came twice (at most {} after one trouble); {seconds} s",
            told.len(),
            sum("kills"),
            sum("events"),
            sum("deliveries"),
            sum("requests"),
            sum("duplicates"),
            most("most_of_one"),
        ));
        let failed = told.iter().filter(|(_, line)| broke_a_promise(line));
        let failed: Vec<&u64> = failed.map(|(world, _)| world).collect();
        for world in &failed {
            say(&format!(
                "world {world} broke a promise; tell it again: make chaos SEED={seed} WORLD={world}"
            ));
        }
        // Whoever was interrupted, or had no server, has not told all.
        let is_whole = self.only.is_some() && !told.is_empty() || sum("kills") >= self.kills;
        Ok(if failed.is_empty() && is_whole {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Done> {
        self.done
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Done {
    fn kills(&self) -> u64 {
        self.told
            .values()
            .filter_map(|line| line["kills"].as_u64())
            .sum()
    }
}

fn broke_a_promise(line: &Value) -> bool {
    line["findings"] != json!([])
}

/// SIGINT or SIGTERM.
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened to");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

fn line(world: u64, plan: &Plan, told: &Result<Told, String>, seconds: u64) -> Value {
    let (figures, findings) = match told {
        Ok(told) => (told.figures.clone(), told.findings.clone()),
        Err(panic) => (Figures::default(), vec![panic.clone()]),
    };
    let kills = told.as_ref().map_or(0, |told| told.kills);
    json!({
        "world": world,
        "database": format!("{:?}", plan.database).to_lowercase(),
        "workers": plan.workers,
        "fan_out": plan.fan_out,
        "kills": kills,
        "strikes": plan.strikes.len(),
        "events": figures.events,
        "deliveries": figures.ends.values().sum::<usize>(),
        "ends": figures.ends,
        "requests": figures.requests,
        "duplicates": figures.duplicates,
        "most_of_one": figures.most_of_one,
        "of_anybody": figures.of_anybody,
        "seconds": seconds,
        "findings": findings,
    })
}

fn in_words(line: &Value) -> String {
    let mut words = format!(
        "world {}: {}, {} workers, fan-out {}: {} kills, {} events, {} deliveries, {} twice, {} s",
        line["world"],
        line["database"].as_str().unwrap_or_default(),
        line["workers"],
        line["fan_out"],
        line["kills"],
        line["events"],
        line["deliveries"],
        line["duplicates"],
        line["seconds"],
    );
    for finding in line["findings"].as_array().into_iter().flatten().take(5) {
        words.push_str(&format!("\n    {}", finding.as_str().unwrap_or_default()));
    }
    words
}

/// What an earlier run with this seed has told.
fn read(path: &Path) -> anyhow::Result<BTreeMap<u64, Value>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(lines
        .filter_map(|line| Some((line["world"].as_u64()?, line)))
        .collect())
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "it panicked".to_owned())
}

#[expect(clippy::print_stdout, reason = "this is how it tells how far it is")]
fn say(text: &str) {
    println!("{text}");
}
