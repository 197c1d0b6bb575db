use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{Connection as _, Executor, PgConnection};
use tharsis::{Secret, Timestamp, profile::MARS, system_now};
use tharsis_receiver::{Options, Receiver, Verify};

use super::{
    evidence::Evidence,
    ledger::Ledger,
    plan::{Blow, Plan, Strike},
    trouble::{LEASE, TIMEOUT, Trouble, Troubles, lost_leases},
    verdict::{Figures, judge},
};
use crate::{
    Clock, Database, Down, Journal, Publisher, Running, Server, Subscribe, World, pause, wait_until,
};

/// What a machine under load may need for anything that takes milliseconds. It holds for a lease too.
const SOON: Duration = Duration::from_secs(30);

/// Processes that publish at the same time.
const PUBLISHERS: usize = 2;

/// Tries of a delivery: the first, and one after each of these.
const RETRIES: [&str; 10] = [
    "100ms", "200ms", "400ms", "800ms", "1s", "1s", "1s", "1s", "1s", "1s",
];

/// The file of a world on SQLite may have so many pages: far more than it needs.
const PAGES: u32 = 16_384;

/// Connections are looked at so often: a kill tells those of that moment alone.
const LOOKS: Duration = Duration::from_millis(200);

/// What became of a world.
#[derive(Debug)]
pub struct Told {
    /// What it amounts to.
    pub figures: Figures,
    /// What of the promises was not kept.
    pub findings: Vec<String>,
    /// Processes that were ended by `kill -9`.
    pub kills: usize,
}

/// Makes the world of this plan, lets everything happen, and judges what became of it; nothing, if it is to stop before.
/// On PostgreSQL it wants a server for itself.
///
/// # Panics
/// When the program does what it never may, such as ending by itself, or nothing for a long time.
pub fn tell(plan: &Plan, server: Option<&Server>, stop: &AtomicBool) -> Option<Told> {
    let server = server.filter(|_| plan.database == Database::Postgres);
    let mut town = Town::found(plan, server);
    for strike in &plan.strikes {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        town.replace_who_ended();
        town.wait_for(strike);
        town.strike(strike);
    }
    let kills = town.kills;
    let (figures, findings) = judge(&town.wind_up());
    Some(Told {
        figures,
        findings,
        kills,
    })
}

struct Town<'a> {
    plan: &'a Plan,
    /// What is armed in processes: the limit of the file.
    armed: String,
    server: Option<&'a Server>,
    ledger: Ledger,
    _receivers: Vec<Receiver>,
    subscriptions: HashMap<String, Vec<String>>,
    ids: Vec<String>,
    refusing: HashMap<String, usize>,
    clients: Vec<String>,
    workers: Vec<Worker>,
    publishers: Vec<(Publisher, Timestamp)>,
    journals: Vec<Journal>,
    /// Where each worker that there ever was has written what it has to say, and by which clock.
    logs: Vec<(PathBuf, Clock)>,
    troubles: Troubles,
    kills: usize,
    hosts: usize,
    looked: Instant,
    /// Dropped last: nobody works in it any more then.
    world: World,
}

struct Worker {
    number: usize,
    process: Running,
    started: Timestamp,
    frozen: Option<Frozen>,
}

struct Frozen {
    from: Timestamp,
    thaws: Instant,
}

impl<'a> Town<'a> {
    fn found(plan: &'a Plan, server: Option<&'a Server>) -> Self {
        let world = World::seeded(plan.seed, server);
        world.lease(&format!("{}ms", LEASE.as_millis()));
        let armed = match plan.database {
            Database::Sqlite => format!("sqlite.pages={PAGES}"),
            Database::Postgres => String::new(),
        };
        world.set_environment("THARSIS_FAILPOINT", &armed);
        let clients: Vec<String> = (0..10 / plan.fan_out).map(|_| world.client()).collect();
        let mut tempers = plan.tempers.iter().cycle();
        let mut subscriptions: HashMap<String, Vec<String>> = HashMap::new();
        let mut refusing = HashMap::new();
        let mut by_path = HashMap::new();
        for client in &clients {
            for n in 0..plan.fan_out {
                let path = format!("/{client}/{n}");
                let temper = *tempers.next().expect("it goes around");
                by_path.insert(path.clone(), temper);
                if !temper.takes_everything() {
                    refusing.insert(path.clone(), 1 + RETRIES.len());
                }
                subscriptions.entry(client.clone()).or_default().push(path);
            }
        }
        let ledger = Ledger::new(by_path, world.random());
        let secret = world.secret();
        let verify = Verify {
            profile: Arc::new(MARS.clone()),
            secret: Some(Secret::new(&secret).expect("it is a good one")),
            url: None,
        };
        let (mut receivers, mut ids) = (Vec::new(), Vec::new());
        // A host for each, so that connections are kept: they tell who sent what.
        for (client, paths) in &subscriptions {
            for path in paths {
                let options = Options {
                    judge: Some(ledger.judge()),
                    verify: Some(verify.clone()),
                    ..Options::new(world.authority())
                };
                let receiver = world.block_on(Receiver::bind(options));
                let receiver = receiver.expect("there is a free port");
                world.open_port(receiver.addr().port());
                ledger.listens(path, receiver.addr().port());
                // What waits for one of two is held while it fails, what waits for the other uses its retries up.
                let breaker = if ids.len() % 2 == 0 { "none" } else { "20" };
                let subscribe = Subscribe::to_url(client, path, &receiver.url(path))
                    .secret(&secret)
                    .retry(&RETRIES.join(","))
                    .timeout(&format!("{}ms", TIMEOUT.as_millis()))
                    .max_in_flight(plan.max_in_flight)
                    .flag(format!("--breaker={breaker}"));
                ids.push(world.subscribe(&subscribe).id);
                receivers.push(receiver);
            }
        }
        if plan.database == Database::Sqlite {
            world.execute("CREATE TABLE filler (bytes BLOB)");
        }
        let mut town = Self {
            plan,
            armed,
            server,
            ledger,
            _receivers: receivers,
            subscriptions,
            ids,
            refusing,
            clients,
            workers: Vec::new(),
            publishers: Vec::new(),
            journals: Vec::new(),
            logs: Vec::new(),
            troubles: Troubles::default(),
            kills: 0,
            hosts: 0,
            looked: Instant::now(),
            world,
        };
        town.add_workers(plan.workers);
        for _ in 0..PUBLISHERS {
            town.add_publisher();
        }
        town
    }

    /// The next host in turn.
    fn host(&mut self) -> Clock {
        self.hosts += 1;
        self.plan.clocks[self.hosts % self.plan.clocks.len()]
    }

    fn add_workers(&mut self, until: usize) {
        while self.workers.len() < until {
            let clock = self.host();
            let process = self.world.spawn_run_at(clock);
            let number = self.logs.len();
            self.logs.push((process.stderr_file().to_owned(), clock));
            let started = system_now();
            self.troubles.started.insert(number, started);
            self.workers.push(Worker {
                number,
                process,
                started,
                frozen: None,
            });
        }
    }

    fn add_publisher(&mut self) {
        let clock = self.host();
        let publisher =
            Publisher::start_at(&self.world, clock, &self.armed, "stubborn", &self.clients);
        self.journals.push(publisher.journal.clone());
        self.publishers.push((publisher, system_now()));
    }

    /// As a supervisor does: whoever finds no database at its start ends, and is started again.
    fn replace_who_ended(&mut self) {
        let troubles = &self.troubles;
        let lives = |process: &mut Running, started: Timestamp| {
            let lives = process.is_alive();
            assert!(
                lives || troubles.touch(started),
                "a process ended by itself: {}",
                process.stderr()
            );
            lives
        };
        let (workers, publishers) = (self.workers.len(), self.publishers.len());
        self.workers
            .retain_mut(|worker| lives(&mut worker.process, worker.started));
        self.publishers
            .retain_mut(|(publisher, started)| lives(&mut publisher.process, *started));
        self.add_workers(workers);
        while self.publishers.len() < publishers {
            self.add_publisher();
        }
        self.thaw(|frozen| frozen.thaws <= Instant::now());
        self.look();
    }

    /// Writes down now and then who has which connections.
    fn look(&mut self) {
        if self.looked.elapsed() < LOOKS {
            return;
        }
        self.looked = Instant::now();
        for worker in &self.workers {
            let connections = worker.process.connections();
            self.troubles.saw(worker.number, &connections);
        }
    }

    fn wait_for(&mut self, strike: &Strike) {
        if strike.at_work {
            let before = self.ledger.taken();
            // Frozen ones and those that find no database are seen to meanwhile.
            wait_until("something more is delivered", SOON, || {
                self.replace_who_ended();
                (self.ledger.taken() > before).then_some(())
            });
        }
        pause(strike.after);
        self.replace_who_ended();
    }

    fn strike(&mut self, strike: &Strike) {
        match strike.blow {
            Blow::KillWorker(leave) => {
                self.kill_worker(strike.whom);
                self.add_workers(leave);
            }
            Blow::Freeze(time) => self.freeze(strike.whom, time),
            Blow::KillPublisher => {
                // It is killed when it is dropped.
                drop(self.publishers.remove(strike.whom % PUBLISHERS));
                self.kills += 1;
                self.add_publisher();
            }
            Blow::KillInTransaction => self.kill_in_transaction(strike.after),
            Blow::TakeDown(how, time, a_worker_too) => {
                self.take_down(how, time, a_worker_too.then_some(strike.whom));
            }
            Blow::EndSessions => {
                let from = system_now();
                self.end_sessions("random() < 0.5");
                self.was_down(from, false);
            }
            Blow::Exhaust(time) => self.exhaust(time),
            Blow::Fill(time) => self.fill(time),
        }
    }

    fn kill_worker(&mut self, whom: usize) {
        if self.workers.is_empty() {
            return;
        }
        let at = whom % self.workers.len();
        let mut worker = self.workers.remove(at);
        if let Some(frozen) = worker.frozen.take() {
            let frozen = frozen.until(worker.number, system_now());
            self.troubles.all.push(frozen);
        }
        if worker.process.is_alive() {
            let stood = worker.process.kill9();
            self.kills += 1;
            self.troubles.saw(worker.number, &stood.connections);
            self.troubles.all.push(Trouble::Killed {
                worker: worker.number,
                at: stood.at,
            });
        }
    }

    fn freeze(&mut self, whom: usize, time: Duration) {
        let at = whom % self.workers.len();
        let worker = &mut self.workers[at];
        if worker.frozen.is_some() || !worker.process.is_alive() {
            return;
        }
        let stood = worker.process.freeze();
        self.troubles.saw(worker.number, &stood.connections);
        worker.frozen = Some(Frozen {
            from: stood.at,
            thaws: Instant::now() + time,
        });
    }

    fn thaw(&mut self, which: impl Fn(&Frozen) -> bool) {
        for worker in &mut self.workers {
            if let Some(frozen) = worker.frozen.take_if(|frozen| which(frozen)) {
                let frozen = frozen.until(worker.number, system_now());
                self.troubles.all.push(frozen);
                worker.process.thaw();
            }
        }
    }

    fn kill_in_transaction(&mut self, after: Duration) {
        // A worker that stands still may have locked the file, which is what the publisher waits for.
        if self.plan.database == Database::Sqlite {
            self.thaw(|_| true);
        }
        let mut publisher = Publisher::start(&self.world, "held", &self.clients);
        self.journals.push(publisher.journal.clone());
        publisher.wait_until_it("holds");
        pause(after.min(Duration::from_millis(100)));
        // It is killed when it is dropped.
        self.kills += 1;
    }

    // === the server ===

    fn take_down(&mut self, how: Down, time: Duration, a_worker: Option<usize>) {
        let Some(server) = self.server else {
            return;
        };
        let from = system_now();
        server.down(how);
        self.kills += usize::from(how == Down::Killed);
        if let Some(whom) = a_worker {
            pause(time / 2);
            self.kill_worker(whom);
            pause(time / 2);
        } else {
            pause(time);
        }
        server.up();
        self.was_down(from, how != Down::Fast);
        self.add_workers(1);
    }

    fn was_down(&mut self, from: Timestamp, crashed: bool) {
        self.troubles.all.push(Trouble::Down {
            from,
            until: system_now(),
            crashed,
        });
    }

    fn end_sessions(&self, which: &str) {
        let mut connection = self.world.connect();
        let ended = self
            .world
            .block_on(connection.execute(sqlx::AssertSqlSafe(format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND {which}"
            ))));
        ended.expect("sessions can be ended");
    }

    /// Takes the places of all sessions as fast as they are free.
    fn exhaust(&mut self, time: Duration) {
        let Some(server) = self.server else {
            return;
        };
        let from = system_now();
        let begin = Instant::now();
        let mut taken = Vec::new();
        self.end_sessions("true");
        while begin.elapsed() < time {
            match self.world.block_on(PgConnection::connect(server.url())) {
                Ok(connection) => taken.push(connection),
                Err(_) => pause(Duration::from_millis(10)),
            }
        }
        for connection in taken {
            // Its server may have ended it.
            let _ = self.world.block_on(connection.close());
        }
        wait_until("there is room for a session again", SOON, || {
            let connection = self.world.block_on(PgConnection::connect(server.url()));
            connection.ok().map(drop)
        });
        self.was_down(from, false);
    }

    // === the file ===

    /// Takes all room that the program may use, and gives it back.
    fn fill(&mut self, time: Duration) {
        let from = system_now();
        // A worker that stands still may have locked the file.
        self.thaw(|_| true);
        let used = self.world.select(
            "SELECT CAST(page_count - freelist_count AS TEXT)
             FROM pragma_page_count, pragma_freelist_count",
        );
        let used: u32 = used[0].parse().expect("it is a number");
        let bytes = u64::from(PAGES.saturating_sub(used)) * 4096;
        self.world
            .execute(&format!("INSERT INTO filler VALUES (zeroblob({bytes}))"));
        pause(time);
        self.world.execute("DELETE FROM filler");
        self.was_down(from, false);
    }

    // === the end ===

    /// Lets everybody come to an end in peace, and gathers what is known.
    fn wind_up(mut self) -> Evidence {
        self.replace_who_ended();
        for (publisher, _) in self.publishers.drain(..) {
            publisher.stop();
        }
        self.ledger.calm_down();
        self.replace_who_ended();
        self.thaw(|_| true);
        for mut worker in self.workers.drain(..) {
            if worker.process.is_alive() {
                let connections = worker.process.connections();
                self.troubles.saw(worker.number, &connections);
                worker.process.terminate();
            }
            let finished = worker.process.finish(SOON);
            // One that has just been started may not listen to signals yet.
            let has_not_begun = finished.signal.is_some() && finished.stderr.is_empty();
            assert!(
                finished.code == Some(0) || has_not_begun || self.troubles.touch(worker.started),
                "a worker ended otherwise than it was asked to: {finished:?}"
            );
        }
        let host = match self.plan.database {
            Database::Sqlite => self.host(),
            Database::Postgres => Clock::default(),
        };
        // They are asked anew.
        for id in &self.ids {
            self.world.ask(["subscription", "resume", id]);
        }
        self.world.run_until_idle_at(host);
        assert_eq!(self.world.integrity(), "ok");
        self.evidence()
    }

    fn evidence(mut self) -> Evidence {
        assert_eq!(self.ledger.wrong(), Vec::<String>::new());
        for (worker, (log, clock)) in self.logs.iter().enumerate() {
            let log = fs::read(log).unwrap_or_default();
            let lost = lost_leases(&String::from_utf8_lossy(&log), *clock);
            let worker = Some(worker);
            let lost = lost.into_iter().map(|at| Trouble::Lost { worker, at });
            self.troubles.all.extend(lost);
        }
        let evidence = Evidence {
            receipts: self.ledger.receipts(),
            troubles: self.troubles,
            refusing: self.refusing,
            subscriptions: self.subscriptions,
            workers: self.plan.workers,
            max_in_flight: usize::try_from(self.plan.max_in_flight).ok(),
            is_shared: self.plan.database == Database::Postgres,
            ..Evidence::default()
        };
        evidence.ask(&self.world, &self.journals)
    }
}

impl Frozen {
    fn until(self, worker: usize, until: Timestamp) -> Trouble {
        Trouble::Frozen {
            worker,
            from: self.from,
            until,
        }
    }
}
