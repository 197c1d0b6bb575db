//! The receiver as a process of its own, so that its cost is not hidden in ours.

use std::{
    io::{self, Write},
    path::Path,
    process::Stdio,
};

use anyhow::Context;
use tharsis_receiver::{Authority, Options, Receiver, Sink};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
};

/// Serves until standard input ends.
pub(crate) async fn run(ca_out: &Path) -> anyhow::Result<()> {
    let authority = Authority::generate()?;
    std::fs::write(ca_out, authority.pem())?;
    let receiver = Receiver::bind(Options {
        sink: Sink::Count,
        ..Options::new(&authority)
    })
    .await?;
    let mut out = io::stdout();
    writeln!(out, "{}", receiver.addr().port())?;
    out.flush()?;
    let mut until = Vec::new();
    tokio::io::stdin().read_to_end(&mut until).await?;
    Ok(())
}

/// A running receiver; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    // Ends when it is dropped, for its standard input ends then.
    _child: Child,
    pub(crate) port: u16,
}

impl Process {
    /// Starts this program again in the role of the receiver.
    pub(crate) async fn start(ca_out: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("receive")
            .arg("--ca-out")
            .arg(ca_out)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the receiver")?;
        let out = child.stdout.take().context("the receiver has no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).await?;
        let port = line
            .trim()
            .parse()
            .context("the receiver did not say its port")?;
        Ok(Self {
            _child: child,
            port,
        })
    }
}
