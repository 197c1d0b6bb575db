//! `tharsis worker`: who delivers.

use clap::{Args, Subcommand};
use serde::Serialize;
use tharsis::system_now;

use super::{Context, documents::WorkerDocument};
use crate::output::{
    Exit, Failure, Table,
    text::{age, moment},
};

/// See who delivers
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Example:
  tharsis worker list")]
pub(crate) enum Command {
    List(List),
}

/// List the processes that deliver, oldest first
///
/// The shards are shared evenly among them. The lease age says how long ago one renewed its ownership: one that does not
/// for the length of its lease is gone, and the others take its shards over. The owner of an SQLite file has no lease;
/// it owns every shard as long as it lives.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis worker list
  tharsis worker list --json | jq '.workers | length'")]
pub(crate) struct List {}

pub(crate) async fn run(context: &Context, command: &Command) -> Result<Exit, Failure> {
    let Command::List(List {}) = command;
    let (output, now) = (context.output, system_now());
    let workers = context.open_without_key().await?.workers().await?;
    if output.json {
        #[derive(Serialize)]
        struct Document<'a> {
            workers: Vec<WorkerDocument<'a>>,
        }
        output.document(&Document {
            workers: workers.iter().map(WorkerDocument::from).collect(),
        })?;
    } else if workers.is_empty() {
        output.note("Nothing delivers at present. Start `tharsis run`.");
    } else {
        let mut table = Table::new(&[
            "worker",
            "host",
            ">pid",
            "version",
            ">shards",
            "since",
            ">lease age",
        ]);
        for worker in &workers {
            let told = WorkerDocument::from(worker);
            table.row([
                worker.id.to_string(),
                or_dash(told.host),
                or_dash(told.pid),
                or_dash(told.version),
                worker.shards.to_string(),
                moment(worker.since, now),
                or_dash(worker.lease_age.map(age)),
            ]);
        }
        output.table(&table)?;
    }
    Ok(Exit::Done)
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
