//! `tharsis demo`: the whole job for real, on this machine, with nothing left behind.

mod events;
mod journal;
mod receivers;
mod report;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use tharsis::{Emitter, egress::Policy, system_now};
use tharsis_receiver::Authority;

use self::{journal::Journal, receivers::Endpoint, report::Report};
use super::Context;
use crate::{
    output::{Exit, Failure, text::count},
    signals,
};

/// How many predictions and nudges.
const EVENTS: usize = 2_000;

/// How many are published in one transaction, and how long after the one before.
const BURST: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);

/// The file of the outbox.
const DATABASE: &str = "demo.db";

/// When it gives up.
const DEADLINE: Duration = Duration::from_secs(60);

/// See the whole job done on this machine
///
/// In a temporary folder: an outbox, three HTTPS receivers with an authority of their own, and three subscriptions of
/// two clients, each checked by HEAD. 2,000 predictions and nudges are published while they are delivered. One receiver
/// fails at first, one is slow. Each signature is verified by its receiver. Exits 0 only if every event arrived verified.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis demo
  tharsis demo --json")]
pub(crate) struct Options {}

pub(crate) async fn run(context: &Context, _: Options) -> Result<Exit, Failure> {
    let output = context.output;
    let shutdown = signals::shutdown()?;
    let folder = tempfile::Builder::new().prefix("tharsis-demo-").tempdir()?;
    let authority = Authority::generate()?;
    let journal = Arc::new(Journal::new(events::all(EVENTS, system_now())?));
    let endpoints = receivers::all(&authority, &journal).await?;
    let policy = policy(&endpoints)?;
    let emitter = open(folder.path(), &authority, policy.clone()).await?;
    for endpoint in &endpoints {
        endpoint.subscribe(&emitter, &policy).await?;
    }
    output.note(report::introduction(folder.path(), &endpoints));

    let expected: u64 = endpoints.iter().map(|endpoint| endpoint.expected).sum();
    let begun = Instant::now();
    let progress = emitter.progress();
    let done = async {
        publish(&emitter, &journal).await?;
        while progress.delivered() + progress.ended() < expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok::<_, Failure>(())
    };
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let publishing = async {
        // Dropping `end` lets the engine finish, however this came to its end.
        let _end = end;
        tokio::select! {
            done = done => done,
            () = shutdown => Err(Failure::new("interrupted", "the demo was interrupted")),
            () = tokio::time::sleep(DEADLINE) => Ok(()),
        }
    };
    let running = async {
        let engine = emitter.run(async { drop(ended.await) });
        tokio::join!(engine, publishing)
    };
    let live = || {
        format!(
            "{} published   {} of {} delivered   {} retried   {} in flight",
            count(journal.published()),
            count(progress.delivered()),
            count(expected),
            count(progress.retried()),
            count(progress.in_flight()),
        )
    };
    let (summary, published) = output.progress().during(running, live).await;
    published?;
    let summary = summary?;
    let report = Report::new(&journal, &endpoints, &summary, begun.elapsed());
    report.tell(output)?;
    for endpoint in endpoints {
        endpoint.receiver.shutdown().await;
    }
    Ok(if report.is_complete() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// These receivers may be reached, and nothing else that is not public.
fn policy(endpoints: &[Endpoint]) -> Result<Policy, Failure> {
    let mut policy = Policy::default();
    for range in ["127.0.0.0/8", "::1"] {
        policy.allow_addresses.push(Policy::range(range)?);
    }
    policy.allow_hosts.push("localhost".to_owned());
    policy.allow_ports.extend(
        endpoints
            .iter()
            .map(|endpoint| endpoint.receiver.addr().port()),
    );
    Ok(policy)
}

async fn open(folder: &Path, authority: &Authority, egress: Policy) -> Result<Emitter, Failure> {
    let ca_file = folder.join("ca.pem");
    std::fs::write(&ca_file, authority.pem())?;
    let database = format!("sqlite://{}", folder.join(DATABASE).display());
    let options = tharsis::Options {
        egress,
        ca_file: Some(ca_file),
        ..tharsis::Options::default()
    };
    Ok(Emitter::open(&database, options).await?)
}

/// Publishes all events in bursts, as an engine would through its day.
async fn publish(emitter: &Emitter, journal: &Journal) -> Result<(), Failure> {
    let mut tick = tokio::time::interval(PAUSE);
    for burst in journal.events().chunks(BURST) {
        tick.tick().await;
        journal.publishing(burst.len());
        for published in emitter.publish_all(burst).await? {
            published?;
        }
    }
    Ok(())
}
