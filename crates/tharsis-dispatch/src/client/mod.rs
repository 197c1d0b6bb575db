use std::path::PathBuf;

use tharsis_core::{delivery::Outcome, egress::Policy, signer::Request};

/// What the one HTTP client of a process is made with.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// What may be reached.
    pub egress: Policy,
    /// Certificates in PEM, trusted beside the system's roots.
    pub ca_file: Option<PathBuf>,
}

/// Why the client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ClientError {
    /// Stable code: `ca_file_unreadable`, `ca_file_invalid`, `resolver_unusable`, …
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// The guarded client: HTTPS only, vetted addresses only, no redirects, no proxies, a total deadline, a bounded body.
#[derive(Debug, Clone)]
pub struct Client {}

impl Client {
    /// Makes the client. One for the whole process: its connections are shared.
    ///
    /// # Errors
    /// When the CA file or the machine's resolver configuration cannot be used.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        let _ = options;
        unimplemented!()
    }

    /// Sends one request and says what came of it; never fails, for a failure is an outcome.
    pub async fn send(&self, request: Request) -> Outcome {
        let _ = request;
        unimplemented!()
    }
}
