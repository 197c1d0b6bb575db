//! A campaign engine for the stories: it publishes into the database of another process, and writes down what it did.
//!
//! `publisher HOW DATABASE CLIENTS SEED JOURNAL`, where CLIENTS have commas between them, and HOW is one of
//!
//! - `mixed`: until it is killed or the file `JOURNAL.stop` is there, it publishes single events, batches, and events in
//!   transactions of its own, of which it rolls some back; on PostgreSQL some of these with plain SQL;
//! - `stubborn`: the same, and where the database fails it writes that down and tries again what may not be committed;
//! - `together`: until then eight callers publish single events at once, so that they are committed together;
//! - `held`: it publishes in a transaction and never comes to an end of it;
//! - `timed:N`: it publishes N single events one after the other, and writes down how long each took.
//!
//! Where `THARSIS_FAILPOINT` arms something, it ends there.
//!
//! The journal has a line for each step: `intends MARK` before an event may be written, `dooms MARK` before an event is
//! written that will never be committed, `committed MARK` after the commit returned, `took MICROSECONDS`, `holds`,
//! `failed ERROR`. Each line is one write to a file, so that it outlives a `kill -9`.

use std::{
    env,
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use tharsis::{
    Emitter, Event, Options, PublishOn,
    sqlx::{
        self, Connection, PgConnection, SqliteConnection, postgres::PgConnectOptions,
        sqlite::SqliteConnectOptions,
    },
    store::failpoint,
};
use tharsis_tests::Line;
use tokio::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [how, database, clients, seed, journal] = &arguments[..] else {
        anyhow::bail!("publisher HOW DATABASE CLIENTS SEED JOURNAL");
    };
    if let Ok(settings) = env::var("THARSIS_FAILPOINT")
        && !settings.is_empty()
    {
        failpoint::arm(&settings)?;
    }
    let mut publisher = Publisher {
        emitter: Emitter::open(database, Options::default()).await?,
        own: Own::connect(database).await?,
        database: database.clone(),
        clients: clients.split(',').map(ToOwned::to_owned).collect(),
        random: fastrand::Rng::with_seed(seed.parse()?),
        journal: Journal::open(Path::new(journal))?,
        stop: Path::new(journal).with_extension("stop"),
        is_stubborn: false,
    };
    let done = match how.split_once(':') {
        Some(("timed", count)) => publisher.timed(count.parse()?).await,
        None if how == "held" => publisher.held().await,
        None if how == "mixed" => publisher.mixed().await,
        None if how == "stubborn" => {
            publisher.is_stubborn = true;
            publisher.mixed().await
        }
        None if how == "together" => publisher.together().await,
        _ => anyhow::bail!("there is no way to publish called {how}"),
    };
    if let Err(error) = &done {
        publisher.journal.write("failed", &format!("{error:#}"))?;
    }
    done
}

struct Publisher {
    emitter: Emitter,
    own: Own,
    database: String,
    clients: Vec<String>,
    random: fastrand::Rng,
    journal: Journal,
    stop: PathBuf,
    is_stubborn: bool,
}

/// The engine's own connection, beside the emitter's.
enum Own {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Own {
    async fn connect(database: &str) -> anyhow::Result<Self> {
        if database.starts_with("sqlite:") {
            let options: SqliteConnectOptions = database.parse()?;
            let options = options.busy_timeout(Duration::from_secs(30));
            return Ok(Self::Sqlite(
                SqliteConnection::connect_with(&options).await?,
            ));
        }
        // The schema is ours to say, and not a driver's to know.
        let (server, schema) = database
            .rsplit_once("schema=")
            .context("the database's URL names no schema")?;
        let options: PgConnectOptions = server.trim_end_matches(['?', '&']).parse()?;
        let options = options.options([("search_path", schema)]);
        Ok(Self::Postgres(PgConnection::connect_with(&options).await?))
    }
}

impl Publisher {
    async fn timed(&mut self, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            let line = self.line();
            let event = Event::parse(line.text.as_bytes())?;
            self.journal.write("intends", &line.mark)?;
            let begin = Instant::now();
            self.emitter.publish(&event).await?;
            let took = begin.elapsed();
            self.journal.write("committed", &line.mark)?;
            self.journal.write("took", &took.as_micros().to_string())?;
        }
        Ok(())
    }

    async fn mixed(&mut self) -> anyhow::Result<()> {
        while !self.stop.exists() {
            let kind = self.random.u8(0..4);
            let count = match kind {
                0 => 1,
                1 => self.random.usize(1..=20),
                _ => self.random.usize(1..=5),
            };
            let lines: Vec<Line> = (0..count).map(|_| self.line()).collect();
            // One transaction of three is rolled back.
            let doomed = kind > 1 && self.random.u8(0..3) == 0;
            let intention = if doomed { "dooms" } else { "intends" };
            self.journal.write_all(intention, &lines)?;
            let mut is_first = true;
            loop {
                let done = match kind {
                    0 | 1 => self.publish(&lines, is_first).await,
                    _ => self.transaction(&lines, doomed, is_first).await,
                };
                match done {
                    Ok(()) if doomed => break,
                    Ok(()) => break self.journal.write_all("committed", &lines)?,
                    // What is no failure of the database is one of ours.
                    Err(error) if !(self.is_stubborn && is_of_the_database(&error)) => {
                        return Err(error);
                    }
                    Err(error) => self.journal.write("failed", &format!("{error:#}"))?,
                }
                if doomed || self.stop.exists() {
                    break;
                }
                is_first = false;
                self.go_on_after_a_failure().await;
            }
            // An engine thinks between its events; without a pause it would only measure the disk.
            let longest = if self.is_stubborn { 60 } else { 20 };
            let pause = Duration::from_millis(self.random.u64(0..longest));
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    async fn together(&mut self) -> anyhow::Result<()> {
        while !self.stop.exists() {
            let lines: Vec<Line> = (0..8).map(|_| self.line()).collect();
            self.journal.write_all("intends", &lines)?;
            let mut callers = JoinSet::new();
            for line in lines {
                let emitter = self.emitter.clone();
                callers.spawn(async move {
                    emitter
                        .publish(&Event::parse(line.text.as_bytes())?)
                        .await?;
                    anyhow::Ok(line.mark)
                });
            }
            while let Some(mark) = callers.join_next().await {
                self.journal.write("committed", &mark??)?;
            }
        }
        Ok(())
    }

    /// The emitter's; what failed before may have been committed, and is a duplicate now.
    async fn publish(&mut self, lines: &[Line], is_first: bool) -> anyhow::Result<()> {
        let events: Result<Vec<Event>, _> = lines
            .iter()
            .map(|line| Event::parse(line.text.as_bytes()))
            .collect();
        let events = events?;
        let published = match &events[..] {
            [event] => vec![self.emitter.publish(event).await?],
            events => {
                let published = self.emitter.publish_all(events).await?;
                published.into_iter().collect::<Result<_, _>>()?
            }
        };
        let again = published.iter().any(|published| published.duplicate);
        anyhow::ensure!(!(again && is_first), "something is a duplicate");
        Ok(())
    }

    /// A transaction of the engine's own, beside whose business the events are published.
    async fn transaction(
        &mut self,
        lines: &[Line],
        doomed: bool,
        is_first: bool,
    ) -> anyhow::Result<()> {
        let by_sql = self.random.bool();
        match &mut self.own {
            Own::Sqlite(connection) => {
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                publish_in(&self.emitter, &mut transaction, lines).await?;
                if doomed {
                    return Ok(transaction.rollback().await?);
                }
                transaction.commit().await?;
            }
            Own::Postgres(connection) => {
                let mut transaction = connection.begin().await?;
                if by_sql {
                    publish_by_sql(&mut transaction, lines, is_first).await?;
                } else {
                    publish_in(&self.emitter, &mut transaction, lines).await?;
                }
                if doomed {
                    return Ok(transaction.rollback().await?);
                }
                transaction.commit().await?;
            }
        }
        self.emitter.wake();
        Ok(())
    }

    /// As an engine does whose connection has broken.
    async fn go_on_after_a_failure(&mut self) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if let Ok(own) = Own::connect(&self.database).await {
            self.own = own;
        }
    }

    async fn held(&mut self) -> anyhow::Result<()> {
        let lines = [self.line()];
        self.journal.write_all("dooms", &lines)?;
        match &mut self.own {
            Own::Sqlite(connection) => {
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                publish_in(&self.emitter, &mut transaction, &lines).await?;
                self.journal.write("holds", "")?;
                std::future::pending().await
            }
            Own::Postgres(connection) => {
                let mut transaction = connection.begin().await?;
                publish_in(&self.emitter, &mut transaction, &lines).await?;
                self.journal.write("holds", "")?;
                std::future::pending().await
            }
        }
    }

    fn line(&mut self) -> Line {
        let client = &self.clients[self.random.usize(..self.clients.len())];
        if self.random.bool() {
            Line::prediction(&mut self.random, client)
        } else {
            Line::nudge(&mut self.random, client)
        }
    }
}

fn is_of_the_database(error: &anyhow::Error) -> bool {
    let ours = error.downcast_ref::<tharsis::Error>();
    error.is::<sqlx::Error>()
        || ours.is_some_and(|error| matches!(error.code(), "database_failed" | "database_full"))
}

async fn publish_in<C: PublishOn>(
    emitter: &Emitter,
    connection: &mut C,
    lines: &[Line],
) -> anyhow::Result<()> {
    for line in lines {
        let event = Event::parse(line.text.as_bytes())?;
        emitter.publish_in(connection, &event).await?;
    }
    Ok(())
}

/// As an engine in another language does it.
async fn publish_by_sql(
    connection: &mut PgConnection,
    lines: &[Line],
    is_first: bool,
) -> anyhow::Result<()> {
    let types: Vec<&str> = lines.iter().map(Line::event_type).collect();
    let clients: Vec<String> = lines.iter().map(Line::client).collect();
    let texts: Vec<&str> = lines.iter().map(|line| &*line.text).collect();
    let duplicates: Vec<bool> =
        sqlx::query_scalar("SELECT duplicate FROM publish_all($1, $2::uuid[], $3)")
            .bind(types)
            .bind(clients)
            .bind(texts)
            .fetch_all(connection)
            .await?;
    let again = duplicates.contains(&true);
    anyhow::ensure!(
        duplicates.len() == lines.len() && !(again && is_first),
        "{duplicates:?}"
    );
    Ok(())
}

struct Journal(File);

impl Journal {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self(file.with_context(|| format!("{}", path.display()))?))
    }

    fn write(&mut self, step: &str, what: &str) -> anyhow::Result<()> {
        Ok(self.0.write_all(format!("{step} {what}\n").as_bytes())?)
    }

    fn write_all(&mut self, step: &str, lines: &[Line]) -> anyhow::Result<()> {
        lines
            .iter()
            .try_for_each(|line| self.write(step, &line.mark))
    }
}
