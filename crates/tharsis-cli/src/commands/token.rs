//! `tharsis token`: who may use the HTTP API.

use clap::{Args, Subcommand};
use serde::Serialize;
use tharsis::{
    ClientId, Registry, Timestamp, TokenId,
    store::{TokenDraft, TokenRecord},
    system_now,
    token::{Grant, Role, Token},
};
use tharsis_admin::Lifetime;

use super::{
    Context, by,
    documents::{MadeTokenDocument, TokenDocument},
    random,
};
use crate::output::{
    Exit, Failure, Output, Table, fields,
    text::{inert, moment, moment_or_dash},
};

/// Make, list and revoke access tokens for the HTTP API
///
/// A token has a role. A publisher publishes events; a viewer reads everything but secrets; an operator also replays,
/// retries and cancels, pauses and resumes, and sends tests; an admin may do everything.
/// Each at one client, or at all of them.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  tharsis token create --name engine --role publisher --client 36011017-0e00-4e29-a054-7a1fbb8b60a2
  tharsis token list
  tharsis token revoke 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42")]
pub(crate) enum Command {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a token, and show it this once
///
/// The database keeps its hash alone, so nobody can look it up later. It begins with `tharsis_`, by which programs that
/// search code and logs for secrets find it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis token create --name engine --role publisher --client 36011017-0e00-4e29-a054-7a1fbb8b60a2
  tharsis token create --name ann --role operator --expires 90d
  tharsis token create --name dashboard --role viewer --json | jq -r .token > dashboard.token")]
pub(crate) struct Create {
    /// What people call it: whom or what it is for
    #[arg(long, value_name = "NAME")]
    name: String,

    /// What it may do: publisher, viewer, operator or admin
    #[arg(long, value_name = "ROLE")]
    role: Role,

    /// At this client alone [default: at all of them]
    #[arg(long, value_name = "UUID")]
    client: Option<ClientId>,

    /// How long it lets somebody in, such as 90d, or `none` for as long as nobody revokes it
    #[arg(long, value_name = "SPAN", default_value_t)]
    expires: Lifetime,
}

/// List tokens, newest first, also those that are expired or revoked
///
/// The prefix is how a token begins, after `tharsis_`. Its last use is written down once a minute at most.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tharsis token list
  tharsis token list --client 36011017-0e00-4e29-a054-7a1fbb8b60a2
  tharsis token list --json | jq '.tokens[] | select(.state == \"usable\" and .used_at == null)'")]
pub(crate) struct List {
    /// Those that are for this client alone
    #[arg(long, value_name = "UUID")]
    client: Option<ClientId>,
}

/// Have a token let nobody in any more
///
/// Within a second, and for ever. It stays in the list.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tharsis token revoke 019b2f70-91d2-7b35-8f06-3f1c5d0a7e42")]
pub(crate) struct Revoke {
    /// Its id, from `tharsis token list`
    #[arg(value_name = "ID")]
    id: TokenId,
}

pub(crate) async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Create(options) => create(context, options).await,
        Command::List(options) => list(context, &options).await,
        Command::Revoke(Revoke { id }) => revoke(context, id).await,
    }
}

async fn create(context: &Context, options: Create) -> Result<Exit, Failure> {
    let now = system_now();
    let emitter = context.open_without_key().await?;
    let token = Token::generate(random()?);
    let draft = TokenDraft {
        name: options.name,
        grant: Grant {
            role: options.role,
            client: options.client,
        },
        expires_at: options.expires.end(now),
    };
    let record = (emitter.registry()).add_token(&token, &draft, by()).await?;
    // What was made stands, and nobody holds it: that is worth a failure even when the reader has gone.
    show(context.output, &record, &token, now).map_err(|failure| {
        let id = record.id;
        Failure::new(
            "token_not_shown",
            format!(
                "the token {id} was made, but could not be printed: {}",
                failure.fault().message
            ),
        )
        .hint(format!(
            "revoke it and make another one: tharsis token revoke {id}"
        ))
    })?;
    Ok(Exit::Done)
}

/// The one moment at which it is shown.
fn show(
    output: Output,
    record: &TokenRecord,
    token: &Token,
    now: Timestamp,
) -> Result<(), Failure> {
    if output.json {
        return output.document(&MadeTokenDocument::of(record, token, now));
    }
    output.line(fields([
        ["token".to_owned(), record.id.to_string()],
        ["name".to_owned(), record.name.clone()],
        ["role".to_owned(), record.grant.role.to_string()],
        ["client".to_owned(), client(record)],
        ["expires".to_owned(), expires(record, now)],
    ]))?;
    output.line(format_args!(
        "The token itself, which is not shown again:\n\n  {}\n",
        token.expose()
    ))
}

async fn list(context: &Context, options: &List) -> Result<Exit, Failure> {
    let (output, now) = (context.output, system_now());
    let emitter = context.open_without_key().await?;
    let tokens = emitter.registry().tokens(options.client).await?;
    if output.json {
        #[derive(Serialize)]
        struct Document<'a> {
            tokens: Vec<TokenDocument<'a>>,
        }
        let tokens = tokens.iter().map(|token| TokenDocument::of(token, now));
        output.document(&Document {
            tokens: tokens.collect(),
        })?;
    } else if tokens.is_empty() {
        output.note(match options.client {
            None => "There is no token. Make one with `tharsis token create`.",
            Some(_) => "There is no token for this client alone.",
        });
    } else {
        let mut table = Table::new(&[
            "token", "prefix", "name", "role", "client", "state", "expires", "used",
        ]);
        for token in &tokens {
            table.row([
                token.id.to_string(),
                inert(&token.prefix).into_owned(),
                inert(&token.name).into_owned(),
                token.grant.role.to_string(),
                client(token),
                token.state(now).as_str().to_owned(),
                expires(token, now),
                moment_or_dash(token.used_at, now),
            ]);
        }
        output.table(&table)?;
    }
    Ok(Exit::Done)
}

async fn revoke(context: &Context, id: TokenId) -> Result<Exit, Failure> {
    let (output, now) = (context.output, system_now());
    let emitter = context.open_without_key().await?;
    let revoked = (emitter.registry()).revoke_token(None, id, by()).await?;
    if output.json {
        output.document(&TokenDocument::of(&revoked, now))?;
        return Ok(Exit::Done);
    }
    output.line(format_args!(
        "The token {id} ({}) lets nobody in any more.",
        inert(&revoked.name)
    ))?;
    if let Some(before) = revoked.revoked_at.filter(|at| *at < now) {
        output.note(format_args!(
            "It was revoked before: {}.",
            moment(before, now)
        ));
    }
    Ok(Exit::Done)
}

fn client(token: &TokenRecord) -> String {
    (token.grant.client).map_or_else(|| "all".to_owned(), |client| client.to_string())
}

fn expires(token: &TokenRecord, now: Timestamp) -> String {
    (token.expires_at).map_or_else(|| "never".to_owned(), |at| moment(at, now))
}
