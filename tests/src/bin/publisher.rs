//! A campaign engine for the stories: it publishes into the database of another process, and writes down what it did.
//!
//! `publisher HOW DATABASE CLIENTS SEED JOURNAL`, where CLIENTS have commas between them, and HOW is one of
//!
//! - `mixed`: until it is killed or the file `JOURNAL.stop` is there, it publishes single events, batches, and events in
//!   transactions of its own, of which it rolls some back; on PostgreSQL some of these with plain SQL;
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
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use tharsis::{
    Emitter, Event, Options, PublishOn,
    sqlx::{self, Connection, PgConnection, SqliteConnection, postgres::PgConnectOptions},
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
        clients: clients.split(',').map(ToOwned::to_owned).collect(),
        random: fastrand::Rng::with_seed(seed.parse()?),
        journal: Journal::open(Path::new(journal))?,
    };
    let stop = Path::new(journal).with_extension("stop");
    let done = match how.split_once(':') {
        Some(("timed", count)) => publisher.timed(count.parse()?).await,
        None if how == "held" => publisher.held().await,
        None if how == "mixed" => publisher.mixed(&stop).await,
        None if how == "together" => publisher.together(&stop).await,
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
    clients: Vec<String>,
    random: fastrand::Rng,
    journal: Journal,
}

/// The engine's own connection, beside the emitter's.
enum Own {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Own {
    async fn connect(database: &str) -> anyhow::Result<Self> {
        if database.starts_with("sqlite:") {
            return Ok(Self::Sqlite(SqliteConnection::connect(database).await?));
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

    async fn mixed(&mut self, stop: &Path) -> anyhow::Result<()> {
        while !stop.exists() {
            match self.random.u8(0..4) {
                0 => self.single().await?,
                1 => self.batch().await?,
                _ => self.transaction().await?,
            }
            // An engine thinks between its events; without a pause it would only measure the disk.
            let pause = Duration::from_millis(self.random.u64(0..20));
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    async fn together(&mut self, stop: &Path) -> anyhow::Result<()> {
        while !stop.exists() {
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

    async fn single(&mut self) -> anyhow::Result<()> {
        let line = self.line();
        self.journal.write("intends", &line.mark)?;
        let published = self
            .emitter
            .publish(&Event::parse(line.text.as_bytes())?)
            .await?;
        anyhow::ensure!(!published.duplicate, "{} is a duplicate", line.mark);
        self.journal.write("committed", &line.mark)
    }

    async fn batch(&mut self) -> anyhow::Result<()> {
        let lines: Vec<Line> = (0..self.random.usize(1..=20))
            .map(|_| self.line())
            .collect();
        self.journal.write_all("intends", &lines)?;
        let events: Result<Vec<Event>, _> = lines
            .iter()
            .map(|line| Event::parse(line.text.as_bytes()))
            .collect();
        for published in self.emitter.publish_all(&events?).await? {
            published?;
        }
        self.journal.write_all("committed", &lines)
    }

    /// A transaction of the engine's own, beside whose business the events are published; one in three is rolled back.
    async fn transaction(&mut self) -> anyhow::Result<()> {
        let doomed = self.random.u8(0..3) == 0;
        let by_sql = self.random.bool();
        let lines: Vec<Line> = (0..self.random.usize(1..=5)).map(|_| self.line()).collect();
        self.journal
            .write_all(if doomed { "dooms" } else { "intends" }, &lines)?;
        match &mut self.own {
            Own::Sqlite(connection) => {
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                publish_in(&self.emitter, &mut transaction, &lines).await?;
                if doomed {
                    return Ok(transaction.rollback().await?);
                }
                transaction.commit().await?;
            }
            Own::Postgres(connection) => {
                let mut transaction = connection.begin().await?;
                if by_sql {
                    publish_by_sql(&mut transaction, &lines).await?;
                } else {
                    publish_in(&self.emitter, &mut transaction, &lines).await?;
                }
                if doomed {
                    return Ok(transaction.rollback().await?);
                }
                transaction.commit().await?;
            }
        }
        self.emitter.wake();
        self.journal.write_all("committed", &lines)
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
async fn publish_by_sql(connection: &mut PgConnection, lines: &[Line]) -> anyhow::Result<()> {
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
    anyhow::ensure!(duplicates == vec![false; lines.len()], "{duplicates:?}");
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
