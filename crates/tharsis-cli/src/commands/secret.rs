//! Where a secret comes from: a file, standard input, or chance. Never the command line, which others can read.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use tharsis::{
    Secret,
    profile::{KeyKind, Profile, Requirement},
};
use zeroize::Zeroizing;

use super::random;
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

/// How much is asked of a secret that is given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Secret (generated and shown once, unless one of these is given)")]
pub(crate) struct Insisting {
    /// Take it though it is short, regular or well known, for a customer who cannot change it; the audit keeps that
    #[arg(long)]
    pub(crate) accept_weak_secret: bool,
}

/// A secret and whether anybody knows it yet.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) secret: Option<Secret>,
    pub(crate) generated: bool,
    /// The code of what is wrong with it, where somebody insists.
    pub(crate) weakness: Option<&'static str>,
}

impl SecretOptions {
    /// Whether it comes on standard input, which can be read once.
    pub(crate) fn is_typed(&self) -> bool {
        self.secret_stdin
    }

    /// Whether one is generated, because nothing was given and the profile signs.
    pub(crate) fn generates(&self, profile: &Profile) -> bool {
        profile.secret != Requirement::Useless
            && self.secret_file.is_none()
            && !self.secret_stdin
            && !self.no_secret
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
        let insists = insisting.accept_weak_secret;
        if insists && self.secret_file.is_none() && !self.secret_stdin {
            return Err(Failure::usage("nothing_to_accept", "no secret is given")
                .at("--accept-weak-secret")
                .hint("give the secret with --secret-file or --secret-stdin"));
        }
        if !self.generates(profile) {
            let kind = key_kind(profile);
            let secret = match &self.secret_file {
                Some(path) => Some(taken(kind, &text_of(path)?, insists)?),
                None if self.secret_stdin => Some(taken(kind, &typed()?, insists)?),
                None => None,
            };
            let weakness = secret.as_ref().and_then(|secret| secret.weakness(kind));
            return Ok(Chosen {
                secret,
                generated: false,
                weakness: weakness.map(|weakness| weakness.code),
            });
        }
        let secret = match key_kind(profile) {
            KeyKind::Standard => Secret::generate_standard(random()?),
            _ => Secret::generate(random()?),
        };
        Ok(Chosen {
            secret: Some(secret),
            generated: true,
            weakness: None,
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

/// What kind of key the secrets of a profile are.
pub(crate) fn key_kind(profile: &Profile) -> KeyKind {
    (profile.signature.as_ref()).map_or(KeyKind::Text, |signature| signature.key)
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

fn taken(kind: KeyKind, text: &[u8], insists: bool) -> Result<Secret, Failure> {
    let secret = if insists {
        Secret::brought_in_file(kind, text)
    } else {
        Secret::of_file(kind, text).map_err(|refused| {
            let is_weak = Secret::brought_in_file(kind, text).is_ok();
            if is_weak {
                let insist = "a customer who cannot change theirs: --accept-weak-secret";
                let hint = (refused.hint.as_deref()).map(|hint| format!("{hint}; {insist}"));
                refused.hint(hint.unwrap_or_else(|| insist.to_owned()))
            } else {
                refused
            }
        })
    };
    Ok(secret?)
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
