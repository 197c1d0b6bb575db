//! `tharsis outcome`: what can come of an attempt, and what follows.

use clap::{Args, Subcommand};
use serde::Serialize;
use tharsis::delivery::codes;

use super::{Context, documents::OutcomeDocument};
use crate::output::{Exit, Failure, Table, fields};

/// Look up what can come of a delivery, and what follows from it
///
/// These are the codes that `delivery list`, `delivery show` and the log name.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  tharsis outcome list
  tharsis outcome show tls_cert_expired
  tharsis outcome show http_418")]
pub(crate) enum Command {
    List(List),
    Show(Show),
}

/// List them, in the order of a request's life
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis outcome list
  tharsis outcome list --json | jq -r '.outcomes[] | select(.then == \"suspend\") | .code'")]
pub(crate) struct List {}

/// Show one: what happened, what follows, and what to do about it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis outcome show address_not_global
  tharsis outcome show http_503")]
pub(crate) struct Show {
    /// The code, as `tharsis delivery show` says it
    #[arg(value_name = "CODE")]
    code: String,
}

pub(crate) fn run(context: &Context, command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::List(_) => list(context),
        Command::Show(options) => show(context, &options.code),
    }
}

fn list(context: &Context) -> Result<Exit, Failure> {
    let output = context.output;
    if output.json {
        #[derive(Serialize)]
        struct Document<'a> {
            outcomes: Vec<OutcomeDocument<'a>>,
        }
        let outcomes = (codes::ALL.iter()).map(|known| OutcomeDocument::of(known.code, known));
        output.document(&Document {
            outcomes: outcomes.collect(),
        })?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["outcome", "then", "what happened"]);
    for known in codes::ALL {
        table.row([known.code, known.then.told(), known.meaning].map(str::to_owned));
    }
    output.table(&table)?;
    Ok(Exit::Done)
}

fn show(context: &Context, code: &str) -> Result<Exit, Failure> {
    let output = context.output;
    let known = codes::find(code).ok_or_else(|| {
        Failure::usage("unknown_outcome", "is no outcome")
            .at(code)
            .hint("tharsis outcome list has them all")
    })?;
    if output.json {
        output.document(&OutcomeDocument::of(code, known))?;
        return Ok(Exit::Done);
    }
    let told = fields(
        [
            ["outcome", code],
            ["what happened", known.meaning],
            ["then", known.then.told()],
            ["what to do", known.advice],
        ]
        .map(|line| line.map(str::to_owned)),
    );
    output.line(told.trim_end())?;
    Ok(Exit::Done)
}
