//! `--observe`: figures and readiness, beside what a process does.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::Args;
use tharsis::{Emitter, parse_duration};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use super::{Context, serve::told};
use crate::output::Failure;

#[derive(Debug, Args)]
pub(super) struct ObserveFlags {
    /// Tell figures here, at /metrics, /readyz and /healthz, without a token, to whoever reaches it; with port 0 a free one is
    /// taken [env: THARSIS_OBSERVE_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    observe: Option<SocketAddr>,

    /// Say that it is not ready while something has been due for longer, and nothing holds it [env: THARSIS_OBSERVE_OVERDUE]
    /// [default: 5m]
    #[arg(long, value_name = "SPAN", value_parser = parse_duration)]
    overdue: Option<Duration>,
}

/// A listener that nobody is answered at yet.
#[derive(Debug)]
pub(super) struct Bound(TcpListener);

/// A listener at which figures are told.
#[derive(Debug)]
pub(super) struct Observed {
    /// Where.
    pub(super) address: SocketAddr,
    end: watch::Sender<()>,
    answering: JoinHandle<()>,
}

impl ObserveFlags {
    /// How long something may be due.
    pub(super) fn overdue(&self, context: &Context) -> Duration {
        (self.overdue).unwrap_or(context.configuration.observe.overdue)
    }

    /// Where somebody may ask, if that is wanted. It is listened from now on, so that what is in the way is said before anything
    /// is owned.
    pub(super) async fn bind(&self, context: &Context) -> Result<Option<Bound>, Failure> {
        let Some(address) = self.observe.or(context.configuration.observe.listen) else {
            return Ok(None);
        };
        listen(address).await.map(|listener| Some(Bound(listener)))
    }
}

impl Bound {
    /// Answers from now on.
    pub(super) fn answer(self, emitter: &Emitter, overdue: Duration) -> Result<Observed, Failure> {
        let Self(listener) = self;
        let address = listener.local_addr()?;
        let (end, ended) = watch::channel(());
        let emitter = Arc::new(emitter.clone());
        let answering = tharsis_admin::observe(listener, emitter, overdue, told(ended));
        Ok(Observed {
            address,
            end,
            answering: tokio::spawn(answering),
        })
    }
}

impl Observed {
    /// Says where to ask.
    pub(super) fn announce(&self, context: &Context) {
        let address = self.address;
        context.output.note(format_args!(
            "Tells how it does at http://{address}/metrics and http://{address}/readyz."
        ));
    }

    /// Answers no more.
    pub(super) async fn end(self) {
        drop(self.end);
        // Should it have panicked, that is in the log.
        let _ = self.answering.await;
    }
}

/// Listens there.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new("not_listening", format!("cannot be listened on: {error}"))
            .at(address.to_string())
    })
}
