//! `tharsis publish`: events from a file or a pipe into the outbox.
//!
//! One thread reads and checks lines into batches, the other side hands each to the outbox, which commits it in one
//! transaction or, if it is large, in a few. A batch ends when it is full or when the next line would have to be waited
//! for, so a slow pipe is published as it flows.

mod refusals;

use std::{
    cell::Cell,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
    pin::pin,
    thread,
};

use clap::Args;
use tharsis::{Emitter, Event};
use tokio::sync::mpsc;

use self::refusals::{Refusals, Refused};
use super::{
    Context,
    lines::{Line, Lines, open, too_long, unreadable},
};
use crate::{
    output::{Exit, Failure, Fault, Progress, text::count},
    signals,
};

/// Events handed over at once at most.
const BATCH_EVENTS: usize = 1_000;

/// Bytes handed over at once at most, but for the last line.
const BATCH_BYTES: usize = 1 << 20;

/// Parts of a batch that may wait to be committed; each is at most what was read at once.
const WAITING: usize = 16;

/// Publish events, one JSON document a line
///
/// An event of Mars is a line as it is; every other type comes in an envelope: {"type":…,"client":…,"payload":{…}} with
/// optional key, campaign, recipient, expires_at and not_before. What is reported as published is durable. A bad line is
/// told with its number and the rest goes on; publishing the same file again is safe, duplicates are recognised.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis publish events.ndjson
  engine | tharsis publish
  tharsis publish events.ndjson --json | jq '.refused[] | \"\\(.line): \\(.error.message)\"'")]
pub(crate) struct Options {
    /// The file, or - for standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
}

/// Lines that were read and checked, to be committed together.
#[derive(Debug, Default)]
struct Batch {
    events: Vec<Event>,
    /// The number of each event's line.
    lines: Vec<u64>,
    bytes: usize,
    refused: Vec<Refused>,
    /// Why nothing can be read after these.
    broken: Option<io::Error>,
}

/// What became of all lines so far.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    published: u64,
    duplicates: u64,
    refused: u64,
    /// The last line whose fate is settled.
    line: u64,
}

pub(crate) async fn run(context: &Context, options: Options) -> Result<Exit, Failure> {
    let output = context.output;
    let source = open(&options.file)?;
    let typed = options.file == Path::new("-") && io::stdin().is_terminal();
    if typed {
        output.note("Reading events from the terminal, one a line; Ctrl-D ends.");
    }
    // On PostgreSQL publishing takes no key, so that it can be done where none is.
    let emitter = context.open_with(context.options_without_key()).await?;
    let shutdown = signals::shutdown()?;
    let (sender, batches) = mpsc::channel(WAITING);
    // No task of the runtime: a read that waits for input must not keep the process from ending.
    thread::spawn(move || read(source, &sender));

    let tally = Cell::new(Tally::default());
    let mut refusals = Refusals::new(output)?;
    let work = commit(&emitter, batches, shutdown, &tally, &mut refusals);
    let progress = if typed {
        Progress::silent()
    } else {
        output.progress()
    };
    let ended = progress.during(work, || live(tally.get())).await;
    let tally = tally.get();
    let interrupted = match ended {
        Ok(interrupted) => interrupted,
        Err(failure) => {
            let failure = failure.hint_also(&format!(
                "what was published up to line {} is durable; publish it again, duplicates are recognised",
                tally.line
            ));
            if !output.json {
                return Err(failure);
            }
            refusals.finish(tally.published, tally.duplicates, Some(failure.fault()))?;
            return Ok(Exit::Failed);
        }
    };
    refusals.finish(tally.published, tally.duplicates, None)?;
    if interrupted {
        output.note(format_args!(
            "Stopped after line {}; the rest was not published.",
            tally.line
        ));
    }
    if !output.json {
        output.line(format_args!(
            "Published {}, duplicates {}, refused {}.",
            count(tally.published),
            count(tally.duplicates),
            count(tally.refused)
        ))?;
    }
    Ok(if interrupted || tally.refused > 0 {
        Exit::Failed
    } else {
        Exit::Done
    })
}

/// Reads and checks all lines. Ends early when nobody takes them any more.
fn read(source: Box<dyn Read + Send>, batches: &mpsc::Sender<Batch>) {
    let mut lines = Lines::new(source);
    let mut batch = Batch::default();
    loop {
        match lines.next() {
            Ok(Some((number, line))) => batch.take(number, line),
            Ok(None) => {
                // When the other side is gone there is nobody left to tell.
                let _ = batches.blocking_send(batch);
                return;
            }
            Err(error) => {
                batch.broken = Some(error);
                let _ = batches.blocking_send(batch);
                return;
            }
        }
        if (batch.is_full() || lines.would_wait())
            && batches.blocking_send(std::mem::take(&mut batch)).is_err()
        {
            return;
        }
    }
}

impl Batch {
    fn take(&mut self, number: u64, line: Line<'_>) {
        let refused = match line {
            Line::Blank => return,
            Line::TooLong => too_long(),
            Line::Text(text) => match Event::parse(text) {
                Ok(event) => {
                    self.bytes += text.len();
                    self.events.push(event);
                    self.lines.push(number);
                    return;
                }
                Err(invalid) => invalid,
            },
        };
        let mut fault = Fault::from(refused);
        // A document of one line is always in its line 1; only the column says something.
        if let Some(rest) = fault.message.strip_prefix("line 1 ") {
            fault.message = rest.to_owned();
        }
        self.refused.push(Refused {
            line: number,
            fault,
        });
    }

    /// Joined with what else has been read by now, up to a full one: a commit more costs a flush to the disk.
    fn with_what_waits(mut self, batches: &mut mpsc::Receiver<Self>) -> Self {
        while !self.is_full()
            && let Ok(more) = batches.try_recv()
        {
            self.events.extend(more.events);
            self.lines.extend(more.lines);
            self.refused.extend(more.refused);
            self.bytes += more.bytes;
            self.broken = more.broken;
        }
        self
    }

    fn is_full(&self) -> bool {
        self.events.len() >= BATCH_EVENTS
            || self.bytes >= BATCH_BYTES
            || self.refused.len() >= BATCH_EVENTS
    }
}

/// Commits batch by batch. Whether it was interrupted: then what was begun is finished and nothing more is taken.
async fn commit(
    emitter: &Emitter,
    mut batches: mpsc::Receiver<Batch>,
    shutdown: impl Future<Output = ()>,
    tally: &Cell<Tally>,
    refusals: &mut Refusals,
) -> Result<bool, Failure> {
    let mut shutdown = pin!(shutdown);
    loop {
        let batch = tokio::select! {
            biased;
            () = &mut shutdown => return Ok(true),
            batch = batches.recv() => match batch {
                Some(batch) => batch,
                None => return Ok(false),
            },
        };
        let batch = batch.with_what_waits(&mut batches);
        let Batch {
            events,
            lines,
            mut refused,
            broken,
            ..
        } = batch;
        let mut so_far = tally.get();
        let mut failed = broken.as_ref().map(unreadable);
        let mut settled = true;
        if !events.is_empty() {
            match emitter.publish_all(&events).await {
                Ok(published) => {
                    for (published, line) in published.into_iter().zip(&lines) {
                        match published {
                            Ok(published) if published.duplicate => so_far.duplicates += 1,
                            Ok(_) => so_far.published += 1,
                            Err(invalid) => refused.push(Refused {
                                line: *line,
                                fault: invalid.into(),
                            }),
                        }
                    }
                }
                // Some of them may be durable; which ones is not known.
                Err(error) => (failed, settled) = (Some(error.into()), false),
            }
        }
        refused.sort_by_key(|refused| refused.line);
        so_far.refused += refused.len() as u64;
        if settled {
            so_far.line = lines
                .last()
                .copied()
                .max(refused.last().map(|refused| refused.line))
                .unwrap_or(so_far.line);
        }
        tally.set(so_far);
        for refused in refused {
            refusals.tell(&refused)?;
        }
        if let Some(failure) = failed {
            return Err(failure);
        }
    }
}

fn live(tally: Tally) -> String {
    format!(
        "{} published   {} duplicates   {} refused   line {}",
        count(tally.published),
        count(tally.duplicates),
        count(tally.refused),
        count(tally.line)
    )
}
