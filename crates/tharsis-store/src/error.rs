use tharsis_core::Invalid;

use crate::backlog;

/// What a store can fail with; each variant is something that a caller does something else about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The input was refused; nothing was written.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// There is no such row, or it belongs to another client.
    #[error("no {what} {id}")]
    NotFound {
        /// `subscription`, `event`, …
        what: &'static str,
        /// As it was asked for.
        id: String,
    },
    /// The database is not one that can be worked with: too new, too old, key missing, attached, in use by another owner.
    #[error("{message}")]
    Unusable {
        /// Stable code: `schema_too_new`, `key_missing`, `key_wrong`, `already_owned`, `sqlite_too_old`, …
        code: &'static str,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The lease is no longer ours: stop, forget, acquire again.
    #[error("the lease of this worker is lost")]
    LeaseLost,
    /// There is no room for what was to be written, and nothing of it was. Trying again helps once there is.
    #[error("the database has no room left")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database did not do it; trying again may help.
    #[error("the database failed")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    pub(crate) fn database(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Database(source.into())
    }

    pub(crate) fn unusable(
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Unusable {
            code,
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_full(&error) {
            return Self::Full(error.into());
        }
        if backlog::is_full(&error) {
            return backlog::refusal().into();
        }
        Self::database(error)
    }
}

/// `SQLITE_FULL`, and PostgreSQL's `disk_full`.
fn is_full(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|refusal| refusal.code());
    matches!(code.as_deref(), Some("13" | "53100"))
}

/// A row that this version of the program could not have written.
pub(crate) fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::database(format!("a row cannot be read: {what}"))
}

/// A transition that did not change the rows that it names: the caller's transaction is given up.
pub(crate) fn expect_changed(what: &str, expected: u64, changed: u64) -> Result<(), StoreError> {
    if expected == changed {
        return Ok(());
    }
    Err(StoreError::database(format!(
        "{what}: {changed} rows changed in place of {expected}"
    )))
}
