//! Refusals of the server as what a caller can do something about.

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
            "check user, password and database of the database URL",
        ),
        _ => error.into(),
    }
}

/// An error of a statement, with those told apart that an operator has to see to.
pub(super) fn explain(error: sqlx::Error) -> StoreError {
    match code(&error).as_deref() {
        // No such schema, function or table.
        Some("3F000" | "42883" | "42P01") => schema_missing(),
        Some("42501") => not_permitted(&error),
        _ => error.into(),
    }
}

pub(super) fn schema_missing() -> StoreError {
    StoreError::unusable(
        "schema_missing",
        "the database has no such schema of Tharsis, or this user may not use it",
        "make it with `tharsis migrate`, or name another one with ?schema=NAME",
    )
}

fn not_permitted(error: &sqlx::Error) -> StoreError {
    let what = error
        .as_database_error()
        .map_or("not permitted", |refusal| refusal.message());
    StoreError::unusable(
        "not_permitted",
        format!("the database does not permit it: {what}"),
        "grant this user the right, or take another user",
    )
}

/// PostgreSQL's five characters for what went wrong.
pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}
