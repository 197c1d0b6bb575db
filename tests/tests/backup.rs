//! A backup that is made while a worker delivers is restored somewhere else, and goes on from where it was made.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tharsis_tests::{
    ALPHA, BETA, Database, Inbox, Subscribe, World, on_both_databases, wait_until,
};

on_both_databases! { a_restored_backup_goes_on_from_where_it_was_made }

const SOON: Duration = Duration::from_secs(60);

fn delivered(world: &World) -> usize {
    world.statuses().get("delivered").copied().unwrap_or(0)
}

/// How often each body came.
fn times(inbox: &Inbox) -> HashMap<Vec<u8>, usize> {
    let mut times: HashMap<Vec<u8>, usize> = HashMap::new();
    for post in inbox.posts() {
        *times.entry(post.body.to_vec()).or_default() += 1;
    }
    times
}

fn a_restored_backup_goes_on_from_where_it_was_made(on: Database) {
    let world = match on {
        Database::Sqlite => World::new(),
        Database::Postgres => World::in_its_own_database(),
    };
    world.lease("2s");
    let shop = world.receiver("shop").start();
    let till = world.receiver("till").start();
    world.subscribe(&Subscribe::new(ALPHA, &shop));
    let held = world.subscribe(&Subscribe::new(BETA, &till)).id;
    world.ask(["subscription", "pause", &held]);
    let (before, after) = (world.predictions(ALPHA, 40), world.predictions(ALPHA, 10));
    let unfinished = world.predictions(BETA, 15);
    let worker = world.spawn_run();
    world.publish(&[&before[..], &unfinished].concat());
    wait_until("what is not held is delivered", SOON, || {
        (delivered(&world) == before.len()).then_some(())
    });

    let backup = Backup::make(&world, on);

    world.publish(&after);
    world.ask(["subscription", "resume", &held]);
    shop.wait_for(before.len() + after.len(), SOON);
    till.wait_for(unfinished.len(), SOON);
    worker.terminate();
    worker.finish(SOON).ok();

    let _restored = backup.restore(&world);
    assert_eq!(
        delivered(&world),
        before.len(),
        "what was delivered is not lost"
    );
    let shown = world.ask(["subscription", "show", &held]);
    assert_eq!(shown["state"], "paused", "as it was");
    world.run_until_idle();
    assert_eq!(
        till.count(),
        unfinished.len(),
        "nothing goes out that is held"
    );
    assert_eq!(
        world.all_deliveries(&[]).len(),
        before.len() + unfinished.len()
    );

    world.ask(["subscription", "resume", &held]);
    world.run_until_idle();
    assert_eq!(delivered(&world), before.len() + unfinished.len());
    // The same bytes, rightly signed, so that the key opens what was sealed.
    till.assert_received(&unfinished);
    assert!(
        times(&till).values().all(|times| *times == 2),
        "delivered since, and again"
    );
    shop.assert_received_once(&[&before[..], &after].concat());

    // What was published since is not there, and is taken again; what was there is known.
    let again = world.publish(&[&before[..], &after].concat());
    let counted = (again.published, again.duplicates);
    assert_eq!(counted, (10, 40));
    world.run_until_idle();
    shop.assert_received(&[&before[..], &after].concat());
    assert_eq!(shop.count(), before.len() + 2 * after.len());
}

/// What an operator keeps: a copy of the database, and apart from it one of its keys.
enum Backup {
    File { copy: PathBuf, keys: Vec<u8> },
    Dump { file: PathBuf },
}

impl Backup {
    #[track_caller]
    fn make(world: &World, on: Database) -> Self {
        match on {
            Database::Sqlite => {
                let copy = world.path("copy.db");
                world.execute(&format!("VACUUM INTO '{}'", copy.display()));
                let keys = fs::read(world.path("outbox.db.key")).expect("it was made");
                Self::File { copy, keys }
            }
            Database::Postgres => {
                let file = world.path("dump.sql");
                let mut dump = client("pg_dump");
                dump.args(["--schema", world.schema(), "--file"])
                    .arg(&file)
                    .args(["--dbname", &world.database_url()]);
                world.other_reading(dump, "").ok();
                Self::Dump { file }
            }
        }
    }

    /// Puts it down in another place, which the program works on from now on. There the key is what it was.
    #[track_caller]
    fn restore(&self, world: &World) -> Option<Elsewhere> {
        match self {
            Self::File { copy, keys } => {
                fs::rename(copy, world.path("restored.db")).expect("both lie in the folder");
                world.write("restored.db.key", keys);
                world.use_file("restored.db");
                None
            }
            Self::Dump { file } => {
                let elsewhere = Elsewhere::make(&world.database_url());
                let mut restore = client("psql");
                restore
                    .args(["--no-psqlrc", "--quiet", "--single-transaction"])
                    .args(["--set", "ON_ERROR_STOP=1", "--file"])
                    .arg(file)
                    .args(["--dbname", &elsewhere.url]);
                world.other_reading(restore, "").ok();
                world.set_environment("THARSIS_DATABASE_URL", &elsewhere.url);
                Some(elsewhere)
            }
        }
    }
}

/// Another database on the same server. It goes with the story.
struct Elsewhere {
    server: String,
    name: String,
    url: String,
}

impl Elsewhere {
    #[track_caller]
    fn make(server: &str) -> Self {
        let (address, query) = server.split_once('?').unwrap_or((server, ""));
        let (host, name) = address.rsplit_once('/').expect("it names a database");
        let name = format!("{name}_restored");
        let url = match query {
            "" => format!("{host}/{name}"),
            query => format!("{host}/{name}?{query}"),
        };
        let server = server.to_owned();
        assert!(run(&server, &format!("CREATE DATABASE {name}")), "{name}");
        Self { server, name, url }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // Of a story that fails it may stay behind.
        run(
            &self.server,
            &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name),
        );
    }
}

fn run(server: &str, statement: &str) -> bool {
    let status = client("psql")
        .args(["--no-psqlrc", "--quiet", "--dbname", server])
        .args(["--command", statement])
        .status();
    status.is_ok_and(|status| status.success())
}

/// A program of the installation that servers of the tests are made with, or else the one on the path.
fn client(program: &str) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/postgres");
    let folder = Command::new(script)
        .arg("binaries")
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    let beside = folder.map(|folder| Path::new(folder.trim()).join(program));
    match beside.filter(|path| path.is_file()) {
        Some(path) => Command::new(path),
        None => Command::new(program),
    }
}
