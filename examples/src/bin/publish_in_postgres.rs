//! Publishes in the engine's own PostgreSQL transaction: the decision and the events that tell of it are committed together,
//! or none of it is.
//!
//!     THARSIS_DATABASE_URL=$DATABASE_URL tharsis migrate --key-file tharsis.key      (once, as the owner)
//!     DATABASE_URL=postgres://engine@localhost/shop cargo run -p tharsis-examples --bin publish_in_postgres -- events.ndjson
//!
//! Reads events from the file, or from standard input, one JSON document a line, and prints the id of each. With
//! `--rollback` it changes its mind at the end, and nobody ever hears of them. `?schema=` of the URL names another schema of
//! Tharsis than `tharsis`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, fs, io};

use anyhow::Context;
use tharsis::{
    Emitter, Event, Options,
    sqlx::{self, Connection, PgConnection},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (rollback, file) = arguments();
    let events = events(file)?;
    let url = env::var("DATABASE_URL").context("set DATABASE_URL")?;
    let emitter = Emitter::open(&url, Options::default()).await?;
    // The engine's connection need not be ours; it goes to the same database.
    let mut engine = PgConnection::connect(&url).await?;

    let mut transaction = engine.begin().await?;
    // What the engine itself writes down.
    sqlx::query("CREATE TEMPORARY TABLE decision (event uuid NOT NULL)")
        .execute(&mut *transaction)
        .await?;
    let mut ids = Vec::new();
    for event in &events {
        // The same event published again is the same event: its first id comes back.
        let published = emitter.publish_in(&mut transaction, event).await?;
        sqlx::query("INSERT INTO decision VALUES ($1::uuid)")
            .bind(published.id.to_string())
            .execute(&mut *transaction)
            .await?;
        ids.push(published.id);
    }
    if rollback {
        transaction.rollback().await?;
    } else {
        transaction.commit().await?;
    }
    for id in ids {
        println!("{id}");
    }
    Ok(())
}

/// Whether to change one's mind, and the file of events.
fn arguments() -> (bool, Option<String>) {
    let (flags, files): (Vec<_>, Vec<_>) = env::args().skip(1).partition(|one| one == "--rollback");
    (!flags.is_empty(), files.into_iter().next())
}

/// What is to be told. A bad line is refused here, with its reason, before anything is begun.
fn events(file: Option<String>) -> anyhow::Result<Vec<Event>> {
    let text = match file {
        Some(file) => fs::read_to_string(&file).context(file)?,
        None => io::read_to_string(io::stdin())?,
    };
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| Ok(Event::parse(line.as_bytes())?))
        .collect()
}
