use std::{io, path::PathBuf};

/// Why a receiver or its authority could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiverError {
    /// The port is taken, or loopback is not to be listened on.
    #[error("cannot listen on 127.0.0.1 port {port}")]
    Listen {
        /// As it was asked for; 0 is any.
        port: u16,
        /// What the machine said.
        #[source]
        source: io::Error,
    },
    /// A file of the authority cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the machine said.
        #[source]
        source: io::Error,
    },
    /// A certificate and a key file that do not belong together, or are not what they should be.
    #[error("{} and {} are not the two files of one authority", certificate.display(), key.display())]
    Mismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A certificate cannot be made, for example for a name that is none.
    #[error("cannot make a certificate")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<rcgen::Error> for ReceiverError {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error.into())
    }
}

impl From<rustls::Error> for ReceiverError {
    fn from(error: rustls::Error) -> Self {
        Self::Certificate(error.into())
    }
}
