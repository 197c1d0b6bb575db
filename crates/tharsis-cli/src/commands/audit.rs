//! `tharsis audit`: who asked for what.

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;
use tharsis::{Registry, system_now};

use super::Context;
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

/// List what people asked for, newest first, at most 100
///
/// Replays, and what was done to them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis audit list
  tharsis audit list --json | jq '.entries[] | select(.action == \"replay.asked\")'")]
pub(crate) struct List {}

pub(crate) async fn run(context: &Context, command: &Command) -> Result<Exit, Failure> {
    let Command::List(List {}) = command;
    let (output, now) = (context.output, system_now());
    let emitter = context.open_without_key().await?;
    let entries = emitter.registry().audit().await?;
    if output.json {
        #[derive(Serialize)]
        struct Document {
            entries: Vec<Entry>,
        }
        #[derive(Serialize)]
        struct Entry {
            at: String,
            actor: String,
            action: String,
            subject: String,
            detail: Value,
        }
        output.document(&Document {
            entries: entries
                .into_iter()
                .map(|entry| Entry {
                    at: entry.at.to_string(),
                    actor: entry.actor,
                    action: entry.action,
                    subject: entry.subject,
                    detail: serde_json::from_str(&entry.detail).unwrap_or(Value::Null),
                })
                .collect(),
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
