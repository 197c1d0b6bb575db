//! `tharsis key`: the keys that secrets are sealed with.

use std::{
    path::absolute,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use clap::{Args, Subcommand};
use serde::Serialize;
use tharsis::{Emitter, Registry, secret::SealingKey, store::KeyRecord, system_now};
use zeroize::Zeroizing;

use super::{Context, by, not_opened, random};
use crate::output::{
    Exit, Failure, Table, fields,
    text::{count, counted, inert, moment_or_dash},
};

/// Make, list and replace the keys that secrets are sealed with
///
/// They are in the key file, a line each, or in THARSIS_KEYS, with commas between them. One of them seals; the others open
/// what they have sealed.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  tharsis key list
  tharsis key rotate                 Where all who deliver read the same key file
  tharsis key rotate --prepare       Where several do: copy the key file to each, then
  tharsis key rotate")]
pub(crate) enum Command {
    List(List),
    Init(Init),
    Rotate(Rotate),
}

/// List the keys: which one seals, how much is sealed with each, and which of them are here
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis key list
  tharsis key list --json | jq '.keys[] | select(.values == 0)'")]
pub(crate) struct List {}

/// Make the first key, in a key file that is not there yet
///
/// It is needed only where the key is to be there before the database is: `tharsis migrate` makes it too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis key init
  tharsis key init --print | vault kv put secret/tharsis keys=-")]
pub(crate) struct Init {
    /// Print the key in place of writing it to a file, for THARSIS_KEYS
    #[arg(long)]
    print: bool,
}

/// Have another key take the place of the one that seals, and seal all secrets anew with it
///
/// Workers go on meanwhile. It may be cut short at any moment: done again, it goes on. The key is the newest of the key file
/// that the database does not know yet, else one that is made and added to the file. The former key stays in the file until
/// somebody takes it out; backups of before need it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis key rotate
  tharsis key rotate --prepare            Then copy the key file to every host that delivers
  tharsis key rotate --prepare --print    Then add it to THARSIS_KEYS of every process")]
pub(crate) struct Rotate {
    /// Only make the key and add it to the key file, so that it can be given to all others first
    #[arg(long)]
    prepare: bool,
    /// Print the key in place of adding it to the file, for THARSIS_KEYS
    #[arg(long, requires = "prepare")]
    print: bool,
}

pub(crate) async fn run(context: &Context, command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::List(List {}) => list(context).await,
        Command::Init(options) => init(context, options).await,
        Command::Rotate(options) if options.print => print(context),
        Command::Rotate(options) if options.prepare => prepare(context).await,
        Command::Rotate(_) => rotate(context).await,
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let (output, now) = (context.output, system_now());
    let keys = context.open().await?.registry().keys().await?;
    if output.json {
        #[derive(Serialize)]
        struct Document<'a> {
            keys: Vec<KeyDocument<'a>>,
        }
        output.document(&Document {
            keys: keys.iter().map(KeyDocument::from).collect(),
        })?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["key", "state", "since", "retired", ">values", "here"]);
    for key in &keys {
        table.row([
            key.id.clone(),
            key.state.as_str().to_owned(),
            moment_or_dash(key.since, now),
            moment_or_dash(key.retired_at, now),
            count(key.values),
            if key.is_here { "yes" } else { "no" }.to_owned(),
        ]);
    }
    output.table(&table)?;
    let is_lost = |key: &&KeyRecord| key.values > 0 && !key.is_here;
    for key in keys.iter().filter(is_lost) {
        output.note(format_args!(
            "What is sealed with {} cannot be read here: give this process that key, or rotate the secrets.",
            key.id
        ));
    }
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct KeyDocument<'a> {
    id: &'a str,
    state: &'static str,
    since: Option<String>,
    retired_at: Option<String>,
    values: u64,
    here: bool,
}

impl<'a> From<&'a KeyRecord> for KeyDocument<'a> {
    fn from(key: &'a KeyRecord) -> Self {
        Self {
            id: &key.id,
            state: key.state.as_str(),
            since: key.since.map(|at| at.to_string()),
            retired_at: key.retired_at.map(|at| at.to_string()),
            values: key.values,
            here: key.is_here,
        }
    }
}

/// Where a key was made.
#[derive(Serialize)]
struct Made {
    key: String,
    key_file: Option<String>,
}

async fn init(context: &Context, wanted: &Init) -> Result<Exit, Failure> {
    let (output, database) = (context.output, &context.configuration.database);
    if wanted.print {
        let known = Emitter::known_key(database.expose(), &context.options()).await;
        if let Some(id) = known.map_err(not_opened)? {
            return Err(Failure::new(
                "key_known",
                format!("the database seals with a key already, {id}"),
            )
            .hint("make one that takes its place with `tharsis key rotate --prepare --print`"));
        }
        return print(context);
    }
    if context.configuration.keys.is_some() {
        return Err(Failure::usage(
            "keys_given",
            "are given to this process, so that there is no file to make one in",
        )
        .at("THARSIS_KEYS")
        .hint("leave them out, or print a key with --print"));
    }
    let options = context.options();
    let key = Emitter::init_key(database.expose(), &options, by())
        .await
        .map_err(not_opened)?;
    let file = key_file(context);
    if output.json {
        output.document(&Made {
            key,
            key_file: file,
        })?;
    } else {
        output.line(format_args!(
            "Made the key {key} in {}: keep a copy of it, apart from the database's.",
            inert(&file.unwrap_or_default())
        ))?;
    }
    Ok(Exit::Done)
}

/// A new key, and nothing else, for whatever keeps it. Nothing is written.
fn print(context: &Context) -> Result<Exit, Failure> {
    let key = SealingKey::new(random()?);
    let text = key.to_hex();
    if context.output.json {
        // The one document that shows a key, for that is what was asked for.
        #[derive(Serialize)]
        struct Document<'a> {
            key: String,
            secret: &'a str,
        }
        context.output.document(&Document {
            key: key.id(),
            secret: &text,
        })?;
    } else {
        let line = Zeroizing::new(format!("{}\n", *text));
        crate::output::put(line.as_bytes())?;
    }
    Ok(Exit::Done)
}

async fn prepare(context: &Context) -> Result<Exit, Failure> {
    let output = context.output;
    let key = context.open().await?.registry().prepare_key().await?;
    let file = key_file(context);
    if output.json {
        output.document(&Made {
            key,
            key_file: file,
        })?;
        return Ok(Exit::Done);
    }
    let at = match &file {
        Some(file) => format!("in {}", inert(file)),
        None => "in THARSIS_KEYS".to_owned(),
    };
    output.line(format_args!(
        "The key {key} is {at}, and seals nothing yet."
    ))?;
    output.note("Give it to every process that delivers or administers, beside the others, then: tharsis key rotate");
    Ok(Exit::Done)
}

async fn rotate(context: &Context) -> Result<Exit, Failure> {
    let output = context.output;
    let emitter = context.open().await?;
    let so_far = AtomicU64::new(0);
    let tell = |values| so_far.store(values, Relaxed);
    let rotating = (emitter.registry()).rotate_key(by(), &tell);
    let rotated = output
        .progress()
        .during(rotating, || {
            format!("{} values sealed anew", count(so_far.load(Relaxed)))
        })
        .await?;
    let file = key_file(context);
    if output.json {
        #[derive(Serialize)]
        struct Document {
            key: String,
            /// `null` where a rotation that was cut short was gone on with.
            former: Option<String>,
            made: bool,
            values: u64,
            unreadable: u64,
            key_file: Option<String>,
        }
        output.document(&Document {
            key: rotated.key,
            former: rotated.former,
            made: rotated.is_made,
            values: rotated.values,
            unreadable: rotated.unreadable,
            key_file: file,
        })?;
        return Ok(Exit::Done);
    }
    let former = rotated.former.as_deref();
    output.line(fields([
        ["key".to_owned(), rotated.key.clone()],
        ["former".to_owned(), former.unwrap_or("-").to_owned()],
        ["sealed anew".to_owned(), count(rotated.values)],
        ["unreadable".to_owned(), count(rotated.unreadable)],
    ]))?;
    if former.is_none() {
        output
            .note("A rotation that was cut short is finished. To begin another one, rotate again.");
    }
    if rotated.is_made {
        output.note(format_args!(
            "The key was made, and is in {}: keep a copy of it, apart from the database's.",
            inert(&file.unwrap_or_default())
        ));
    }
    if rotated.unreadable > 0 {
        output.note(format_args!(
            "{} with no key that is here: give this process the key, or rotate those secrets. `tharsis key list` shows which key it is.",
            counted(rotated.unreadable, "value opens", "values open")
        ));
    } else {
        output.note("Nothing is sealed with older keys any more. They may go from where keys are kept, but for those that open older backups.");
    }
    Ok(Exit::Done)
}

fn key_file(context: &Context) -> Option<String> {
    let database = context.configuration.database.expose();
    let file = Emitter::key_file(database, &context.options())?;
    let file = absolute(&file).unwrap_or(file);
    Some(file.display().to_string())
}
