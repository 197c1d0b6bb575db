//! Refusals of the server as what a caller can do something about.

use std::fmt::Display;

use crate::StoreError;

/// Why there is no connection.
pub(super) fn not_opened(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => StoreError::unusable(
            "database_unreachable",
            format!("no PostgreSQL server answers: {error}"),
            "check host and port of the database URL, and that the server runs",
        ),
        sqlx::Error::Tls(_) => StoreError::unusable(
            "database_unreachable",
            format!("no safe connection to the PostgreSQL server: {error}"),
            "check sslmode and sslrootcert of the database URL",
        ),
        sqlx::Error::Database(refusal) => StoreError::unusable(
            "database_refused",
            format!(
                "the PostgreSQL server refuses the connection: {}",
                refusal.message()
            ),
            match refusal.code().as_deref() {
                Some("53300") => {
                    "close some of its connections, or raise max_connections or the role's limit: a worker takes up to 8"
                }
                Some("57P03") => "try again in a moment: it is starting or stopping",
                // What poolers say to what a connection asks for at its start.
                Some("08P01") => "connect to the server itself, not through a pooler",
                Some("42501") => "grant this user CONNECT to the database, or take another user",
                _ => "check user, password and database of the database URL",
            },
        ),
        _ => error.into(),
    }
}

/// An error of a statement, with those told apart that an operator has to see to.
pub(super) fn explain(error: sqlx::Error) -> StoreError {
    match code(&error).as_deref() {
        // No such schema, function or table.
        Some("3F000" | "42883" | "42P01") => schema_missing(),
        Some(NOT_PERMITTED) => refused(&error),
        _ => error.into(),
    }
}

const NOT_PERMITTED: &str = "42501";

impl StoreError {
    /// What the user's rights do not permit is told apart here for all that is asked, for trying again does not help.
    pub(crate) fn or_not_permitted(self) -> Self {
        match self {
            Self::Database(source) => match source.downcast::<sqlx::Error>() {
                Ok(error) if code(&error).as_deref() == Some(NOT_PERMITTED) => refused(&error),
                Ok(error) => Self::Database(error),
                Err(source) => Self::Database(source),
            },
            other => other,
        }
    }
}

pub(super) fn schema_missing() -> StoreError {
    StoreError::unusable(
        "schema_missing",
        "the database has no such schema of Tharsis, or this user may not use it",
        "make it with `tharsis migrate`, or name another one with ?schema=NAME",
    )
}

fn refused(error: &sqlx::Error) -> StoreError {
    let what = error
        .as_database_error()
        .map_or("not permitted", |refusal| refusal.message());
    not_permitted(what)
}

pub(super) fn not_permitted(what: impl Display) -> StoreError {
    StoreError::unusable(
        "not_permitted",
        format!("the database does not permit it: {what}"),
        "take the role that owns the schema, or grant this one the right; only publishing does with USAGE on the schema \
         and EXECUTE on its publish functions",
    )
}

/// Whether somebody else had a lock for too long, or waited for one of ours.
pub(super) fn is_lock_refused(error: &StoreError) -> bool {
    let StoreError::Database(source) = error else {
        return false;
    };
    let code = source.downcast_ref::<sqlx::Error>().and_then(code);
    matches!(code.as_deref(), Some("55P03" | "40P01"))
}

/// Whether the server ended a statement, for it took too long or somebody asked for that.
pub(super) fn is_cut_short(error: &StoreError) -> bool {
    let StoreError::Database(source) = error else {
        return false;
    };
    let code = source.downcast_ref::<sqlx::Error>().and_then(code);
    code.as_deref() == Some("57014")
}

/// PostgreSQL's five characters for what went wrong.
pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}
