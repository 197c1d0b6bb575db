//! A worker as a process of its own.

use std::path::PathBuf;

use clap::Args;
use tharsis::{Emitter, EngineOptions, Options};

use crate::{
    role::{Role, asked, say},
    world::{Outside, loopback},
};

/// What it works with.
#[derive(Debug, Args)]
pub(crate) struct Work {
    #[arg(long)]
    database: String,
    #[arg(long)]
    key_file: PathBuf,
    #[arg(long)]
    ca_file: PathBuf,
    /// Those that it may reach.
    #[arg(long, value_delimiter = ',')]
    ports: Vec<u16>,
    #[arg(long)]
    in_flight: usize,
}

/// Delivers until standard input ends. Says when it begins and, at last, how many it has delivered.
pub(crate) async fn run(work: Work) -> anyhow::Result<()> {
    let options = Options {
        egress: loopback(&work.ports)?,
        ca_file: Some(work.ca_file),
        key_file: Some(work.key_file),
        engine: EngineOptions {
            max_in_flight: work.in_flight,
            ..EngineOptions::default()
        },
        ..Options::default()
    };
    let emitter = Emitter::open(&work.database, options).await?;
    emitter.client()?;
    emitter.own().await?;
    say("delivers")?;
    let ended = async { while matches!(asked().await, Ok(Some(()))) {} };
    let summary = emitter.run(ended).await?;
    say(summary.delivered)
}

/// Starts this program again in the role of a worker, and waits until it delivers.
pub(crate) async fn start(outside: &Outside, in_flight: usize) -> anyhow::Result<Role> {
    start_reaching(outside, in_flight, &[]).await
}

/// The same for one that may reach more ports.
pub(crate) async fn start_reaching(
    outside: &Outside,
    in_flight: usize,
    more: &[u16],
) -> anyhow::Result<Role> {
    let ports: Vec<String> = [&[outside.port], more]
        .concat()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut role = Role::start([
        "work".into(),
        "--database".into(),
        outside.outbox.url.clone().into(),
        "--key-file".into(),
        outside.outbox.key_file.clone().into(),
        "--ca-file".into(),
        outside.ca_file.clone().into(),
        "--ports".into(),
        ports.join(",").into(),
        "--in-flight".into(),
        in_flight.to_string().into(),
    ])?;
    role.hear().await?;
    Ok(role)
}
