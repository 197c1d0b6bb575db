//! Where a secret comes from: a file, standard input, or chance. Never the command line, which others can read.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use tharsis::{
    Secret,
    profile::{KeyKind, Profile},
};
use tharsis_admin::registering::{Chosen, Wanted};
use zeroize::Zeroizing;

use crate::output::Failure;

pub(crate) use tharsis_admin::registering::key_kind;

/// No file of a secret is longer.
const MAX_FILE: u64 = 16 * 1024;

/// How a weak secret is insisted on.
const INSIST: &str = "--accept-weak-secret";

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

/// How much is asked of a secret that is given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Secret (generated and shown once, unless one of these is given)")]
pub(crate) struct Insisting {
    /// Take it though it is short, regular or well known, for a customer who cannot change it; the audit keeps that
    #[arg(long)]
    pub(crate) accept_weak_secret: bool,
}

impl SecretOptions {
    /// Whether it comes on standard input, which can be read once.
    pub(crate) fn is_typed(&self) -> bool {
        self.secret_stdin
    }

    /// Whether one is generated, because nothing was given and the profile signs.
    pub(crate) fn generates(&self, profile: &Profile) -> bool {
        !self.is_given() && Wanted::Any.generates(profile)
    }

    /// Whether any of them was given.
    pub(crate) fn is_given(&self) -> bool {
        self.secret_file.is_some() || self.secret_stdin || self.no_secret
    }

    /// What was given, else one as the profile wants it.
    pub(crate) fn choose(
        &self,
        profile: &Profile,
        insisting: &Insisting,
    ) -> Result<Chosen, Failure> {
        let text = match &self.secret_file {
            Some(path) => Some(text_of(path)?),
            None if self.secret_stdin => Some(typed()?),
            None => None,
        };
        let wanted = match &text {
            Some(text) => Wanted::This(text),
            None if self.no_secret => Wanted::None,
            None => Wanted::Any,
        };
        let insists = insisting.accept_weak_secret;
        Chosen::of(profile, wanted, insists, INSIST).map_err(|refused| match refused.code {
            "nothing_to_accept" => Failure::from(refused)
                .into_usage()
                .hint("give the secret with --secret-file or --secret-stdin"),
            _ => refused.into(),
        })
    }
}

/// The secret that was given, if one was.
pub(crate) fn given(options: &SecretOptions, profile: &Profile) -> Result<Option<Secret>, Failure> {
    let kind = key_kind(profile);
    match &options.secret_file {
        Some(path) => from_file(kind, path).map(Some),
        None if options.secret_stdin => from_stdin(kind).map(Some),
        None => Ok(None),
    }
}

/// The secret that a file holds, or the key that verifies what was signed.
pub(crate) fn from_file(kind: KeyKind, path: &Path) -> Result<Secret, Failure> {
    Ok(Secret::of_file(kind, &text_of(path)?)?)
}

/// What a file holds that is as good as a secret; a line end after it is no part of it.
pub(crate) fn line_of(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = text_of(path)?;
    let line = std::str::from_utf8(&text).map_err(|_| {
        Failure::new("secret_unreadable", "is not UTF-8").at(path.display().to_string())
    })?;
    let line = line.strip_suffix('\n').unwrap_or(line);
    Ok(Zeroizing::new(
        line.strip_suffix('\r').unwrap_or(line).to_owned(),
    ))
}

fn text_of(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let unreadable = |error: io::Error| {
        Failure::new("secret_unreadable", format!("cannot be read: {error}"))
            .at(path.display().to_string())
    };
    read(File::open(path).map_err(unreadable)?).map_err(unreadable)
}

fn from_stdin(kind: KeyKind) -> Result<Secret, Failure> {
    Ok(Secret::of_file(kind, &typed()?)?)
}

fn typed() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let text = if io::stdin().is_terminal() {
        let terminal = console::Term::stderr();
        terminal.write_str("Secret: ")?;
        Zeroizing::new(terminal.read_secure_line()?.into_bytes())
    } else {
        read(io::stdin().lock())?
    };
    Ok(text)
}

fn read(source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::new());
    source.take(MAX_FILE).read_to_end(&mut text)?;
    Ok(text)
}
