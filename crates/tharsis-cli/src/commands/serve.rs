//! `tharsis serve`: the HTTP API and the dashboard, and the worker beside them.

use std::{net::SocketAddr, sync::Arc};

use clap::Args;
use serde::Serialize;
use tharsis::{Registry, system_now};
use tharsis_admin::host_name;
use tokio::sync::watch;

use super::{
    Context,
    egress::written,
    observe::{ObserveFlags, listen},
    run::{opened, own},
};
use crate::{
    mail,
    output::{Exit, Failure},
    signals,
};

/// Serve the HTTP API and the dashboard, and deliver
///
/// Whoever asks bears a token: `tharsis token create`; people sign in with one at `/`. It listens on this machine alone; for
/// others a proxy stands before it that speaks TLS, which `--behind-proxy` says, and which passes on the name that it is asked
/// under, which `--host` says: under another name nobody is answered. The first SIGINT or SIGTERM lets what is under way end,
/// a second one ends the process at once.
///
/// Under `/docs` it says what it takes and answers, under `/openapi.json` the same for programs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis serve
  tharsis serve --listen 127.0.0.1:9000 --no-worker
  tharsis serve --observe 127.0.0.1:9464
  tharsis serve --openapi > openapi.json
  tharsis serve --listen 0.0.0.0:8400 --behind-proxy --host tharsis.example.com
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

    /// A name that it is asked under beside those of this machine, as browsers send it: tharsis.example.com; may be given
    /// several times
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    host: Vec<String>,

    #[command(flatten)]
    observe: ObserveFlags,
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
    let listener = listen(options.listen).await?;
    let address = listener.local_addr()?;
    let bound = options.observe.bind(context).await?;
    if !options.no_worker {
        // What is wrong with the client, or with owning, is said before anybody is answered.
        emitter.client()?;
        own(&emitter).await?;
        if let Some(opened) = opened(&context.configuration) {
            output.note(opened);
        }
    }
    let overdue = options.observe.overdue(context);
    let observed = (bound.map(|bound| bound.answer(&emitter, overdue))).transpose()?;
    if output.json {
        #[derive(Serialize)]
        struct Document {
            listening: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            observed: Option<String>,
        }
        output.document(&Document {
            listening: address.to_string(),
            observed: (observed.as_ref()).map(|observed| observed.address.to_string()),
        })?;
    } else {
        output.line(format_args!(
            "Listening on http://{address}. Ctrl-C ends it."
        ))?;
    }
    if let Some(observed) = &observed {
        observed.announce(context);
    }
    if !emitter.registry().has_tokens(system_now()).await? {
        output.note(
            "No token counts yet. Make the first: tharsis token create --name me --role admin",
        );
    }

    if options.behind_proxy && options.host.is_empty() {
        output.note(
            "Where the proxy passes on the name that it is asked under, name it too: --host NAME",
        );
    }

    let mut allowed = tharsis_admin::Options::new(system_now);
    allowed.hosts = hosts(address, &options.host);
    allowed.seen_from = written(&context.configuration.seen_from);
    allowed.egress = context.configuration.egress.clone();
    allowed.profiles = context.configuration.profiles.clone();
    allowed.overdue = overdue;
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
    if let Some(observed) = observed {
        observed.end().await;
    }
    Ok(Exit::Done)
}

/// The names that it is asked under: those of this machine with its port, and what else was named.
fn hosts(address: SocketAddr, named: &[String]) -> Vec<String> {
    let port = address.port();
    let mut hosts = vec![address.to_string()];
    for name in ["localhost", "127.0.0.1", "[::1]"] {
        hosts.push(format!("{name}:{port}"));
        // Browsers leave out the port of the scheme.
        if port == 80 {
            hosts.push(name.to_owned());
        }
    }
    hosts.extend_from_slice(named);
    hosts
}

/// Resolves once the sender is gone.
pub(super) async fn told(mut ended: watch::Receiver<()>) {
    while ended.changed().await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_under_the_names_of_this_machine_and_those_that_are_named() {
        let told = |address: &str, named: &[&str]| {
            let address = address.parse().expect("an address");
            let named: Vec<String> = named.iter().map(ToString::to_string).collect();
            hosts(address, &named).join(" ")
        };
        assert_eq!(
            told("127.0.0.1:8400", &["tharsis.example.com"]),
            "127.0.0.1:8400 localhost:8400 127.0.0.1:8400 [::1]:8400 tharsis.example.com"
        );
        assert_eq!(
            told("[::1]:80", &[]),
            "[::1]:80 localhost:80 localhost 127.0.0.1:80 127.0.0.1 [::1]:80 [::1]"
        );
    }
}
