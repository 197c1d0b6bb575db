//! What every scenario stands on: a receiver process, a folder, an outbox, one subscription.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use tempfile::TempDir;
use tharsis::{
    CheckMethod, Emitter, EngineOptions, Event, Options, Secret, egress::Policy,
    subscription::Draft, subscription::Settings,
};

use crate::{payload, receive::Process};

/// What to measure with.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) in_flight: u32,
    pub(crate) runs: usize,
}

/// A fresh outbox with one subscription at a receiver process.
pub(crate) struct World {
    pub(crate) emitter: Emitter,
    pub(crate) settings: Settings,
    pub(crate) secret: Secret,
    pub(crate) egress: Policy,
    pub(crate) ca_file: PathBuf,
    // Both end with the world.
    _receiver: Process,
    _folder: TempDir,
}

impl World {
    pub(crate) async fn new(plan: &Plan) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let ca_file = folder.path().join("ca.pem");
        let receiver = Process::start(&ca_file).await?;
        let (emitter, settings, secret) =
            subscribed(folder.path(), &ca_file, receiver.port, plan).await?;
        Ok(Self {
            emitter,
            settings,
            secret,
            egress: loopback(receiver.port)?,
            ca_file,
            _receiver: receiver,
            _folder: folder,
        })
    }
}

/// A fresh outbox in this folder with one subscription at this port of the machine.
pub(crate) async fn subscribed(
    folder: &Path,
    ca_file: &Path,
    port: u16,
    plan: &Plan,
) -> anyhow::Result<(Emitter, Settings, Secret)> {
    let egress = loopback(port)?;
    let options = Options {
        egress: egress.clone(),
        ca_file: Some(ca_file.to_owned()),
        engine: EngineOptions::default(),
    };
    let database = folder.join("bench.db");
    let url = format!(
        "sqlite://{}",
        database
            .to_str()
            .context("the folder's path is not UTF-8")?
    );
    let emitter = Emitter::open(&url, options).await?;
    let settings = Draft {
        client: payload::CLIENT.into(),
        name: "bench".into(),
        url: format!("https://localhost:{port}/hook"),
        max_in_flight: Some(plan.in_flight),
        ..Draft::default()
    }
    .settings(&egress)?;
    let secret = Secret::generate([7; 20]);
    emitter
        .subscribe(&settings, Some(&secret), CheckMethod::Head)
        .await?;
    Ok((emitter, settings, secret))
}

fn loopback(port: u16) -> anyhow::Result<Policy> {
    Ok(Policy {
        allow_addresses: vec!["127.0.0.0/8".parse()?, "::1/128".parse()?],
        allow_hosts: vec!["localhost".into()],
        allow_ports: vec![port],
    })
}

/// Publishes the whole backlog in batches of 1,000 and returns how long the publishing alone took.
pub(crate) async fn publish(
    emitter: &Emitter,
    plan: &Plan,
    batch: usize,
) -> anyhow::Result<Duration> {
    let mut took = Duration::ZERO;
    let mut next = 0;
    while next < plan.events {
        let until = (next + batch).min(plan.events);
        let events = (next..until)
            .map(|n| payload::event(n, plan.bytes))
            .collect::<anyhow::Result<Vec<Event>>>()?;
        let began = std::time::Instant::now();
        for published in emitter.publish_all(&events).await? {
            published?;
        }
        took += began.elapsed();
        next = until;
    }
    Ok(took)
}
