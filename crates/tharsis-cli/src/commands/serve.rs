//! `tharsis serve`: the HTTP API, and the worker beside it.

use std::{net::SocketAddr, sync::Arc};

use clap::Args;
use serde::Serialize;
use tharsis::{Registry, system_now};
use tokio::{net::TcpListener, sync::watch};

use super::{
    Context,
    run::{opened, own},
};
use crate::{
    mail,
    output::{Exit, Failure},
    signals,
};

/// Serve the HTTP API, and deliver
///
/// Whoever asks bears a token: `tharsis token create`. It listens on this machine alone; for others a proxy stands before it
/// that speaks TLS, which `--behind-proxy` says. The first SIGINT or SIGTERM lets what is under way end, a second one ends the
/// process at once.
///
/// Under `/docs` it says what it takes and answers, under `/openapi.json` the same for programs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis serve
  tharsis serve --listen 127.0.0.1:9000 --no-worker
  tharsis serve --openapi > openapi.json
  curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8400/v1/subscriptions
  curl -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\
      --data @event.json http://127.0.0.1:8400/v1/events")]
pub(crate) struct Options {
    /// Where to listen; with port 0 a free one is taken
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8400")]
    listen: SocketAddr,

    /// Only answer: others deliver
    #[arg(long)]
    no_worker: bool,

    /// A proxy that speaks TLS is all that reaches the address, which may be none of this machine's own
    #[arg(long)]
    behind_proxy: bool,

    /// Only print what the API takes and answers, as OpenAPI 3.1
    #[arg(long)]
    openapi: bool,
}

pub(crate) async fn run(context: &Context, options: &Options) -> Result<Exit, Failure> {
    let output = context.output;
    if options.openapi {
        output.line(tharsis_admin::openapi())?;
        return Ok(Exit::Done);
    }
    let is_here = options.listen.ip().is_loopback();
    if !is_here && !options.behind_proxy {
        return Err(Failure::usage(
            "not_loopback",
            "is reached from other machines, and tokens would come over it for all to read",
        )
        .at("--listen")
        .hint("listen on 127.0.0.1; where only a proxy that speaks TLS reaches it, say --behind-proxy"));
    }
    let shutdown = signals::shutdown()?;
    let mut configured = context.options();
    configured.engine.alerts = mail::alerts(&context.configuration)?;
    let emitter = context.open_with(configured).await?;
    let listener = TcpListener::bind(options.listen).await.map_err(|error| {
        Failure::new("not_listening", format!("cannot be listened on: {error}"))
            .at(options.listen.to_string())
    })?;
    let address = listener.local_addr()?;
    if !options.no_worker {
        // What is wrong with the client, or with owning, is said before anybody is answered.
        emitter.client()?;
        own(&emitter).await?;
        if let Some(opened) = opened(&context.configuration) {
            output.note(opened);
        }
    }
    if output.json {
        #[derive(Serialize)]
        struct Document {
            listening: String,
        }
        output.document(&Document {
            listening: address.to_string(),
        })?;
    } else {
        output.line(format_args!(
            "Listening on http://{address}. Ctrl-C ends it."
        ))?;
    }
    if !emitter.registry().has_tokens(system_now()).await? {
        output.note(
            "No token counts yet. Make the first: tharsis token create --name me --role admin",
        );
    }

    let mut allowed = tharsis_admin::Options::new(system_now);
    allowed.egress = context.configuration.egress.clone();
    allowed.profiles = context.configuration.profiles.clone();
    let (end, ended) = watch::channel(());
    let serving = tharsis_admin::serve(
        listener,
        Arc::new(emitter.clone()),
        allowed,
        told(ended.clone()),
    );
    let delivering = async {
        if options.no_worker {
            return Ok(());
        }
        let summary = emitter.run(told(ended)).await;
        summary.map(drop)
    };
    let ending = async {
        shutdown.await;
        drop(end);
    };
    // Where one of them fails, both end.
    let both = async {
        let serving = async {
            serving.await;
            Ok::<_, Failure>(())
        };
        let delivering = async { delivering.await.map_err(Failure::from) };
        tokio::try_join!(serving, delivering).map(drop)
    };
    tokio::pin!(both);
    tokio::select! {
        done = &mut both => done?,
        () = ending => both.await?,
    }
    Ok(Exit::Done)
}

/// Resolves once the sender is gone.
async fn told(mut ended: watch::Receiver<()>) {
    while ended.changed().await.is_ok() {}
}
