//! Where a secret comes from: a file, standard input, or chance. Never the command line, which others can read.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use tharsis::Secret;
use zeroize::Zeroizing;

use crate::output::Failure;

/// No file of a secret is longer.
const MAX_FILE: u64 = 16 * 1024;

/// The secret of a subscription. Without any of these one is generated.
#[derive(Debug, Args)]
#[command(next_help_heading = "Secret (generated and shown once, unless one of these is given)")]
#[group(multiple = false)]
pub(crate) struct SecretOptions {
    /// Take it from this file; a line end after it is no part of it
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// Take it from standard input; a terminal asks for it without showing it
    #[arg(long)]
    secret_stdin: bool,

    /// Have none: requests go out without a signature
    #[arg(long)]
    no_secret: bool,
}

/// A secret and whether anybody knows it yet.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) secret: Option<Secret>,
    pub(crate) generated: bool,
}

impl SecretOptions {
    /// Whether one is generated, because nothing was given.
    pub(crate) fn generates(&self) -> bool {
        self.secret_file.is_none() && !self.secret_stdin && !self.no_secret
    }

    pub(crate) fn choose(&self) -> Result<Chosen, Failure> {
        let given = |secret| Chosen {
            secret,
            generated: false,
        };
        if let Some(path) = &self.secret_file {
            return Ok(given(Some(from_file(path)?)));
        }
        if self.secret_stdin {
            return Ok(given(Some(from_stdin()?)));
        }
        if self.no_secret {
            return Ok(given(None));
        }
        let mut random = [0; 20];
        getrandom::fill(&mut random).map_err(|error| Failure::because("no_randomness", &error))?;
        Ok(Chosen {
            secret: Some(Secret::generate(random)),
            generated: true,
        })
    }
}

/// The secret that a file holds.
pub(crate) fn from_file(path: &Path) -> Result<Secret, Failure> {
    let unreadable = |error: io::Error| {
        Failure::new("secret_unreadable", format!("cannot be read: {error}"))
            .at(path.display().to_string())
    };
    let text = read(File::open(path).map_err(unreadable)?).map_err(unreadable)?;
    Ok(Secret::from_file_text(&text)?)
}

fn from_stdin() -> Result<Secret, Failure> {
    let text = if io::stdin().is_terminal() {
        let terminal = console::Term::stderr();
        terminal.write_str("Secret: ")?;
        Zeroizing::new(terminal.read_secure_line()?.into_bytes())
    } else {
        read(io::stdin().lock())?
    };
    Ok(Secret::from_file_text(&text)?)
}

fn read(source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::new());
    source.take(MAX_FILE).read_to_end(&mut text)?;
    Ok(text)
}
