//! `tharsis audit`: who asked for what.

use clap::{Args, Subcommand};
use serde::Serialize;
use tharsis::{ClientId, Registry, system_now};

use super::{Context, documents::AuditDocument};
use crate::output::{
    Exit, Failure, Table,
    text::{inert, moment},
};

/// See who asked for what
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Example:
  tharsis audit list")]
pub(crate) enum Command {
    List(List),
}

/// List who did what to what, newest first
///
/// What people changed, and what workers saw that may be an attack.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis audit list
  tharsis audit list --json | jq '.entries[] | select(.action == \"replay.asked\")'")]
pub(crate) struct List {
    /// Of this client alone
    #[arg(long, value_name = "UUID")]
    client: Option<ClientId>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// The entries after those of another list, which named it as `next`
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

pub(crate) async fn run(context: &Context, command: &Command) -> Result<Exit, Failure> {
    let Command::List(wanted) = command;
    let (output, now) = (context.output, system_now());
    let emitter = context.open_without_key().await?;
    let page = (emitter.registry())
        .audit(wanted.client, wanted.after.as_deref(), wanted.limit)
        .await?;
    let entries = page.items;
    if output.json {
        #[derive(Serialize)]
        struct Document<'a> {
            entries: Vec<AuditDocument<'a>>,
            /// Hand it over as `--after`; null at the end.
            next: Option<String>,
        }
        output.document(&Document {
            entries: entries.iter().map(AuditDocument::from).collect(),
            next: page.next,
        })?;
    } else if entries.is_empty() {
        output.note("Nothing was asked for.");
    } else {
        let mut table = Table::new(&["at", "actor", "action", "subject"]);
        for entry in &entries {
            table.row([
                moment(entry.at, now),
                inert(&entry.actor).into_owned(),
                inert(&entry.action).into_owned(),
                inert(&entry.subject).into_owned(),
            ]);
        }
        output.table(&table)?;
    }
    Ok(Exit::Done)
}
