//! A campaign engine for the stories: it publishes into the database of another process, and writes down what it did.
//!
//! `publisher HOW DATABASE CLIENT SEED JOURNAL`, where HOW is one of
//!
//! - `mixed`: until it is killed or the file `JOURNAL.stop` is there, it publishes single events, batches, and events in
//!   transactions of its own, of which it rolls some back;
//! - `held`: it publishes in a transaction and never comes to an end of it;
//! - `timed:N`: it publishes N single events one after the other, and writes down how long each took.
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
    Emitter, Event, Options,
    sqlx::{Connection, SqliteConnection},
};
use tharsis_tests::Line;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [how, database, client, seed, journal] = &arguments[..] else {
        anyhow::bail!("publisher HOW DATABASE CLIENT SEED JOURNAL");
    };
    let mut publisher = Publisher {
        emitter: Emitter::open(database, Options::default()).await?,
        connection: SqliteConnection::connect(database).await?,
        client: client.clone(),
        random: fastrand::Rng::with_seed(seed.parse()?),
        journal: Journal::open(Path::new(journal))?,
    };
    let done = match how.split_once(':') {
        Some(("timed", count)) => publisher.timed(count.parse()?).await,
        None if how == "held" => publisher.held().await,
        None if how == "mixed" => {
            publisher
                .mixed(&Path::new(journal).with_extension("stop"))
                .await
        }
        _ => anyhow::bail!("there is no way to publish called {how}"),
    };
    if let Err(error) = &done {
        publisher.journal.write("failed", &format!("{error:#}"))?;
    }
    done
}

struct Publisher {
    emitter: Emitter,
    /// The engine's own, beside the emitter's.
    connection: SqliteConnection,
    client: String,
    random: fastrand::Rng,
    journal: Journal,
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
        let lines: Vec<Line> = (0..self.random.usize(1..=5)).map(|_| self.line()).collect();
        self.journal
            .write_all(if doomed { "dooms" } else { "intends" }, &lines)?;
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        for line in &lines {
            let event = Event::parse(line.text.as_bytes())?;
            self.emitter.publish_in(&mut transaction, &event).await?;
        }
        if doomed {
            transaction.rollback().await?;
            return Ok(());
        }
        transaction.commit().await?;
        self.emitter.wake();
        self.journal.write_all("committed", &lines)
    }

    async fn held(&mut self) -> anyhow::Result<()> {
        let line = self.line();
        self.journal.write("dooms", &line.mark)?;
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let event = Event::parse(line.text.as_bytes())?;
        self.emitter.publish_in(&mut transaction, &event).await?;
        self.journal.write("holds", "")?;
        std::future::pending().await
    }

    fn line(&mut self) -> Line {
        if self.random.bool() {
            Line::prediction(&mut self.random, &self.client)
        } else {
            Line::nudge(&mut self.random, &self.client)
        }
    }
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
