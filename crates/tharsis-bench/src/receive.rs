//! The receiver as a process of its own, so that its cost is not hidden in ours.

use std::{path::Path, time::Duration};

use anyhow::Context;
use tharsis_receiver::{Answer, Authority, Options, Receiver, Sink};

use crate::role::{Role, asked, say};

/// Serves until standard input ends. Says its port, and how many it has received whenever it is asked.
pub(crate) async fn run(ca_out: &Path, delay: Duration) -> anyhow::Result<()> {
    let authority = Authority::generate()?;
    std::fs::write(ca_out, authority.pem())?;
    let receiver = Receiver::bind(Options {
        sink: Sink::Count,
        answer: Answer {
            delay,
            ..Answer::default()
        },
        ..Options::new(&authority)
    })
    .await?;
    say(receiver.addr().port())?;
    while asked().await?.is_some() {
        say(receiver.count())?;
    }
    Ok(())
}

/// A running receiver; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    role: Role,
    pub(crate) port: u16,
}

impl Process {
    /// Starts this program again in the role of the receiver, which takes `delay` to answer.
    pub(crate) async fn start(ca_out: &Path, delay: Duration) -> anyhow::Result<Self> {
        let mut role = Role::start([
            "receive".into(),
            "--ca-out".into(),
            ca_out.into(),
            "--delay-ms".into(),
            delay.as_millis().to_string().into(),
        ])?;
        let port = role.hear().await?;
        let port = port.parse().context("the receiver did not say its port")?;
        Ok(Self { role, port })
    }

    /// How many requests it has received so far.
    pub(crate) async fn count(&mut self) -> anyhow::Result<u64> {
        let count = self.role.ask().await?;
        count.parse().context("the receiver did not say a number")
    }
}
