//! A worker as a process of its own.

use std::{ffi::OsString, path::PathBuf};

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

impl Work {
    /// An emitter as it is told.
    pub(crate) async fn emitter(self) -> anyhow::Result<Emitter> {
        let options = Options {
            egress: loopback(&self.ports)?,
            ca_file: Some(self.ca_file),
            key_file: Some(self.key_file),
            engine: EngineOptions {
                max_in_flight: self.in_flight,
                ..EngineOptions::default()
            },
            ..Options::default()
        };
        Ok(Emitter::open(&self.database, options).await?)
    }

    /// What tells it so.
    pub(crate) fn arguments(outside: &Outside, in_flight: usize, more: &[u16]) -> [OsString; 10] {
        let ports: Vec<String> = [&[outside.port], more]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect();
        [
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
        ]
    }
}

/// Delivers until standard input ends. Says when it begins and, at last, how many it has delivered.
pub(crate) async fn run(work: Work) -> anyhow::Result<()> {
    let emitter = work.emitter().await?;
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
    let arguments = Work::arguments(outside, in_flight, more);
    let mut role = Role::start(["work".into()].into_iter().chain(arguments))?;
    role.hear().await?;
    Ok(role)
}
