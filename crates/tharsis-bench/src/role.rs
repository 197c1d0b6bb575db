//! This program again, in a role of its own: it says lines on its standard output, and ends with its standard input.

use std::{ffi::OsString, process::Stdio};

use anyhow::Context;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// A running one. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Role {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Role {
    pub(crate) fn start(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start this program again")?;
        let input = child.stdin.take().context("it has no input")?;
        let output = child.stdout.take().context("it has no output")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output).lines(),
        })
    }

    /// The number of its process.
    pub(crate) fn process(&self) -> anyhow::Result<u32> {
        self.child.id().context("it ended early")
    }

    /// What it says next.
    pub(crate) async fn hear(&mut self) -> anyhow::Result<String> {
        let line = self.output.next_line().await?;
        line.context("it ended early")
    }

    /// Its answer to an empty line.
    pub(crate) async fn ask(&mut self) -> anyhow::Result<String> {
        self.input.write_all(b"\n").await?;
        self.hear().await
    }

    /// Lets it end, and hears its last word.
    pub(crate) async fn end(self) -> anyhow::Result<String> {
        let Self {
            mut child,
            input,
            mut output,
        } = self;
        drop(input);
        let mut last = String::new();
        while let Some(line) = output.next_line().await? {
            last = line;
        }
        let status = child.wait().await?;
        anyhow::ensure!(status.success(), "it ended with {status}");
        Ok(last)
    }
}

/// Says a line, in a role.
pub(crate) fn say(line: impl std::fmt::Display) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

/// The next line of what this role hears; `None` at its end.
pub(crate) async fn asked() -> anyhow::Result<Option<()>> {
    let mut byte = [0];
    let read = tokio::io::AsyncReadExt::read(&mut tokio::io::stdin(), &mut byte).await?;
    Ok((read > 0).then_some(()))
}
