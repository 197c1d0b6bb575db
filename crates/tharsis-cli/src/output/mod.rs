//! Everything that is printed: documents for programs, tables and sentences for people.
//!
//! Standard output carries the answer, standard error what is said on the way. With `--json` the answer is one JSON
//! document (one a line where a command streams), an error too. Whatever came from elsewhere passes [`text::inert`].

mod failure;
mod progress;
mod table;
pub(crate) mod text;

use std::{
    fmt,
    io::{self, BufRead, IsTerminal, Write},
};

pub(crate) use failure::{Exit, Failure};
pub(crate) use progress::{Aside, HERTZ, Progress};
pub(crate) use table::{Table, fields};
pub(crate) use tharsis_admin::documents::Fault;

/// How and where to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Documents for programs in place of tables and sentences.
    pub(crate) json: bool,
}

impl Output {
    /// Prints a JSON document on one line.
    pub(crate) fn document(self, document: &impl serde::Serialize) -> Result<(), Failure> {
        put(format!("{}\n", json(document)?).as_bytes())
    }

    /// Prints a line of the answer for people. Flushed, so that it is there when the next thing takes its time.
    pub(crate) fn line(self, line: impl fmt::Display) -> Result<(), Failure> {
        put(format!("{line}\n").as_bytes())
    }

    /// Prints a table that fits the terminal, if it is one.
    pub(crate) fn table(self, table: &Table) -> Result<(), Failure> {
        let width = console::Term::stdout()
            .size_checked()
            .map(|(_, columns)| usize::from(columns));
        put(table.render(width).as_bytes())
    }

    /// Says something on the way, to people only.
    pub(crate) fn note(self, note: impl fmt::Display) {
        if !self.json {
            // Nobody is left to be told that standard error is closed.
            let _ = Aside.write_all(format!("{note}\n").as_bytes());
        }
    }

    /// A progress display on standard error; silent off a terminal and with `--json`.
    pub(crate) fn progress(self) -> Progress {
        Progress::new(!self.json && io::stderr().is_terminal())
    }

    /// Whether there is somebody to ask before something that cannot be taken back; else `--yes` is wanted.
    pub(crate) fn can_ask(self) -> Result<(), Failure> {
        if io::stdin().is_terminal() && io::stderr().is_terminal() {
            return Ok(());
        }
        Err(Failure::usage(
            "not_confirmed",
            "this asks first, and here nobody can answer",
        )
        .hint("add --yes"))
    }

    /// Asks; anything but yes is no.
    pub(crate) fn ask(self, question: impl fmt::Display) -> Result<bool, Failure> {
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question} [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok(matches!(
            answer.trim().to_ascii_lowercase().as_str(),
            "y" | "yes"
        ))
    }
}

/// A document as it is printed, without its line end.
pub(crate) fn json(document: &impl serde::Serialize) -> io::Result<String> {
    let json = serde_json::to_string(document)?;
    Ok(text::inert_json(&json).into_owned())
}

/// Writes to standard output at once.
pub(crate) fn put(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(())
}
