//! Chaos by the thousand: worlds side by side, until so many processes were killed. `make chaos KILLS=5000`.
//!
//! `chaos [--kills N] [--seed S] [--beside N] [--world N] [--folder PATH]`. Each world's plan is drawn from the seed and
//! the world's number. What became of a world is a line of JSON in `FOLDER/SEED.ndjson`, so that a run that was
//! interrupted goes on where it was when it is started with the same seed. It ends with 1 if a promise was not kept.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::Context;
use serde_json::{Value, json};
use tharsis_tests::{
    Database, Server,
    chaos::{Plan, Told, tell},
};

/// Kills in one world.
const KILLS: u64 = 25;

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
    /// How many worlds there are to be.
    worlds: u64,
    /// At once.
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
        let mut told = if only.is_some() {
            BTreeMap::new()
        } else {
            read(&path)?
        };
        let (first, worlds) = match only {
            Some(world) => (world, world + 1),
            None => (0, u64::div_ceil(kills, KILLS)),
        };
        told.retain(|world, _| *world < worlds);
        say(&format!(
            "seed {seed}: {} worlds with {KILLS} kills each, {} of them told already; what became of them is in {}",
            worlds - first,
            told.len(),
            path.display()
        ));
        Ok(Self {
            seed,
            worlds,
            beside,
            folder,
            next: AtomicU64::new(first),
            stop: AtomicBool::new(false),
            done: Mutex::new(Done {
                file: OpenOptions::new().create(true).append(true).open(path)?,
                told,
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
            let mut look = tokio::time::interval(std::time::Duration::from_millis(100));
            loop {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {
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
        let server = catch_unwind(|| Server::start(&folder));
        while let Ok(server) = &server
            && !self.stop.load(Ordering::Relaxed)
        {
            let world = self.next.fetch_add(1, Ordering::Relaxed);
            if world >= self.worlds {
                break;
            }
            if !self.lock().told.contains_key(&world) {
                self.tell(world, server);
            }
        }
        drop(server);
        self.lock().at_work -= 1;
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
        let told = catch_unwind(AssertUnwindSafe(|| tell(&plan, Some(server), &self.stop)));
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
        say(&format!(
            "{}/{}  {}",
            done.told.len() + 1,
            self.worlds,
            in_words(&line)
        ));
        done.told.insert(world, line);
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
        let failed: BTreeSet<&u64> = told
            .iter()
            .filter(|(_, line)| line["findings"] != json!([]))
            .map(|(world, _)| world)
            .collect();
        for world in &failed {
            say(&format!(
                "world {world} broke a promise; tell it again: make chaos SEED={seed} WORLD={world}"
            ));
        }
        let stopped = self.stop.into_inner();
        Ok(if failed.is_empty() && !stopped {
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

fn line(world: u64, plan: &Plan, told: &Result<Told, String>, seconds: u64) -> Value {
    let (figures, findings) = match told {
        Ok(Told { figures, findings }) => (figures.clone(), findings.clone()),
        Err(panic) => (Default::default(), vec![panic.clone()]),
    };
    json!({
        "world": world,
        "database": format!("{:?}", plan.database).to_lowercase(),
        "workers": plan.workers,
        "fan_out": plan.fan_out,
        "kills": plan.kills(),
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
