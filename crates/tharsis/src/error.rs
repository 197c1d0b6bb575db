use tharsis_core::Invalid;
use tharsis_dispatch::{CheckError, ClientError, RunError};
use tharsis_store::StoreError;

/// What an [`crate::Emitter`] can fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input was refused; nothing was written.
    #[error(transparent)]
    Invalid(Invalid),
    /// The database refused or failed.
    #[error(transparent)]
    Store(StoreError),
    /// The URL of a subscription did not pass its check; nothing was created.
    #[error(transparent)]
    Check(Box<CheckError>),
    /// The HTTP client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The engine ended early.
    #[error(transparent)]
    Run(RunError),
}

impl Error {
    /// The stable code of what went wrong, to match on and to look up: `discount_out_of_range`, `already_owned`,
    /// `status_not_200`, …
    pub fn code(&self) -> &str {
        match self {
            Self::Invalid(invalid) | Self::Store(StoreError::Invalid(invalid)) => invalid.code,
            Self::Store(StoreError::NotFound { .. }) => "not_found",
            Self::Store(StoreError::Unusable { code, .. }) => code,
            Self::Store(StoreError::LeaseLost) => "lease_lost",
            Self::Store(StoreError::Full(_)) => "database_full",
            Self::Store(_) => "database_failed",
            Self::Check(check) => &check.code,
            Self::Client(client) => client.code,
            Self::Run(_) => "run_failed",
        }
    }

    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Invalid(invalid) | Self::Store(StoreError::Invalid(invalid)) => {
                invalid.hint.as_deref()
            }
            Self::Store(StoreError::Unusable { hint, .. }) => Some(hint),
            Self::Store(StoreError::Full(_)) => Some(
                "make room where the database lies, and do it again: what is in it is kept, and a worker goes on by itself",
            ),
            Self::Store(_) | Self::Run(_) => None,
            Self::Check(check) => Some(&check.hint),
            Self::Client(client) => Some(&client.hint),
        }
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Invalid(invalid) => Self::Invalid(invalid),
            error => Self::Store(error),
        }
    }
}

impl From<CheckError> for Error {
    fn from(error: CheckError) -> Self {
        Self::Check(Box::new(error))
    }
}

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Store(error) => error.into(),
            error => Self::Run(error),
        }
    }
}
