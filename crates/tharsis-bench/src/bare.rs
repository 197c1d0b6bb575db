//! The yardstick: sign, POST, read the answer, again. No database, no policy, no outcome.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use tharsis::signer::{self, Signed};
use tharsis_dispatch::{Client, ClientOptions};

use crate::{
    payload,
    world::{Plan, World},
};

/// Posts as many as the plan has deliveries, as many at once as the subscriptions may.
pub(crate) async fn posts(world: &World, plan: &Plan) -> anyhow::Result<Duration> {
    let client = Client::new(&ClientOptions {
        egress: world.egress.clone(),
        ca_file: Some(world.outside.ca_file.clone()),
        ..ClientOptions::default()
    })?
    .bare();
    let body = Bytes::from(payload::text(payload::CLIENT, 0, plan.bytes));
    let signature = Arc::new(
        world
            .settings
            .profile
            .signature
            .clone()
            .context("the profile signs")?,
    );
    let sent = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let loops: Vec<_> = (0..plan.in_flight)
        .map(|_| {
            let (client, body, sent, posts) = (
                client.clone(),
                body.clone(),
                sent.clone(),
                plan.deliveries(),
            );
            let (signature, secret) = (signature.clone(), world.secret.clone());
            let url = world.settings.url.canonical().clone();
            tokio::spawn(async move {
                while sent.fetch_add(1, Ordering::Relaxed) < posts {
                    let signed = signer::sign(&signature, [&secret], &Signed::body(&body))?;
                    let response = client
                        .post(url.clone())
                        .header(&*signature.header, signed)
                        .header("content-type", "application/json")
                        .body(body.clone())
                        .send()
                        .await?
                        .error_for_status()?;
                    response.bytes().await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for one in loops {
        one.await??;
    }
    Ok(began.elapsed())
}
