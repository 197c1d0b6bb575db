use std::{
    fs::File,
    io::{self, BufWriter, Seek, Write},
};

use serde::Serialize;

use crate::output::{Failure, Fault, Output, json};

/// A line that was not published, and why.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub(super) line: u64,
    #[serde(rename = "error")]
    pub(super) fault: Fault,
}

/// Lines that were refused, however many: people are told at once, the document is kept in a file until its end.
#[derive(Debug)]
pub(super) struct Refusals {
    output: Output,
    kept: Option<BufWriter<File>>,
    first: bool,
}

impl Refusals {
    pub(super) fn new(output: Output) -> Result<Self, Failure> {
        let kept = if output.json {
            Some(BufWriter::new(tempfile::tempfile()?))
        } else {
            None
        };
        Ok(Self {
            output,
            kept,
            first: true,
        })
    }

    pub(super) fn tell(&mut self, refused: &Refused) -> Result<(), Failure> {
        let Some(kept) = &mut self.kept else {
            self.output.note(format_args!(
                "line {}: {}",
                refused.line,
                refused.fault.sentence()
            ));
            return Ok(());
        };
        if !self.first {
            kept.write_all(b",")?;
        }
        self.first = false;
        kept.write_all(json(refused)?.as_bytes())?;
        Ok(())
    }

    /// Prints the document, where one is wanted; first why it ended early, if it did.
    pub(super) fn finish(
        self,
        published: u64,
        duplicates: u64,
        error: Option<&Fault>,
    ) -> Result<(), Failure> {
        let Some(kept) = self.kept else {
            return Ok(());
        };
        let mut kept = kept.into_inner().map_err(|error| error.into_error())?;
        kept.rewind()?;
        let mut stdout = io::stdout().lock();
        stdout.write_all(b"{")?;
        if let Some(fault) = error {
            write!(stdout, r#""error":{},"#, json(fault)?)?;
        }
        write!(
            stdout,
            r#""published":{published},"duplicates":{duplicates},"refused":["#
        )?;
        io::copy(&mut kept, &mut stdout)?;
        stdout.write_all(b"]}\n")?;
        stdout.flush()?;
        Ok(())
    }
}
