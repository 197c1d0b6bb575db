//! Publishes and delivers in one process: nothing else has to run.
//!
//!     tharsis listen --secret-file shop.secret        (in one terminal; it makes ca.pem)
//!     cargo run -p tharsis-examples --bin embed_worker -- shop.secret
//!
//! It works in `engine.db` of the current folder and ends on Ctrl-C.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{env, fs, time::Duration};

use anyhow::Context;
use tharsis::{
    Emitter, Event, Options,
    egress::Policy,
    payload::{Nudge, identity, nudge::Content},
    profile::Profiles,
    secret::Secret,
    subscription::Draft,
    system_now,
};

const CLIENT: &str = "b4aeba4e-a4c0-4896-866a-56f8bcb372fc";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let file = env::args()
        .nth(1)
        .context("give the file that holds the secret")?;
    let secret = Secret::from_file_text(&fs::read(&file).context(file)?)?;

    // By default only public addresses are reached. A receiver on this machine is opened by name.
    let options = Options {
        egress: Policy {
            allow_hosts: vec!["localhost".into()],
            allow_addresses: vec![Policy::range("127.0.0.0/8")?],
            allow_ports: vec![443, 9443],
        },
        ca_file: Some("ca.pem".into()),
        ..Options::default()
    };
    let emitter = Emitter::open("sqlite://engine.db", options.clone()).await?;
    subscribe(&emitter, &options.egress, secret).await?;

    // Every clone is the same outbox. The engine's own work goes on beside the delivery, and ends with it.
    let engine = tokio::spawn(work(emitter.clone()));
    let summary = emitter
        .run(async { tokio::signal::ctrl_c().await.unwrap_or_default() })
        .await?;
    engine.abort();
    println!(
        "delivered {}, retried {}",
        summary.delivered, summary.retried
    );
    Ok(())
}

/// Registers the URL, once. Nothing is created unless it answers the check.
async fn subscribe(emitter: &Emitter, policy: &Policy, secret: Secret) -> anyhow::Result<()> {
    let settings = Draft {
        client: CLIENT.into(),
        name: "embedded".into(),
        url: "https://localhost:9443/nudges".into(),
        events: vec!["nudge".into()],
        ..Draft::default()
    }
    .settings(policy, &Profiles::default())?;
    match emitter.subscribe(&settings, &secret.into(), None).await {
        Err(error) if error.code() == "name_taken" => Ok(()),
        added => Ok(added.map(drop)?),
    }
}

/// What the engine does all day.
async fn work(emitter: Emitter) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        let published = emitter.publish(&nudge()?).await?;
        println!("published {}", published.id);
    }
}

fn nudge() -> Result<Event, tharsis::Invalid> {
    let now = system_now();
    Nudge::new()
        .nudge_user_id("0b6b9d2b-2a02-4e4a-a3f5-0f2a3a9a2b11")
        .campaign_id("36011017-0e00-4e29-a054-7a1fbb8b60a2")
        .client_id(CLIENT)
        .marax_id("280b850d-c28d-4812-8ad9-a164acd96a62")
        .identity(identity::EMAIL, "testuser@example.com")
        .queued_at(now)
        // Once it has expired a nudge is worthless: no attempt goes out after this instant.
        .expires_at(now + Duration::from_secs(2 * 60 * 60))
        .content(Content::new("Still thinking?", "It is 20 % off today"))
        .event()
}
