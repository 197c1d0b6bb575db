//! What went wrong before a status came, told by the types of the errors in the chain.

use std::{borrow::Cow, error::Error, fmt, io, time::Duration};

use rustls::{AlertDescription, CertificateError, PeerIncompatible};
use tharsis_core::delivery::{Fault, Outcome, codes};

use super::phase::Phase;

/// In characters.
const MAX_DETAIL: usize = 500;

/// An attempt that ended without a status. Also the error of the resolver, which comes back at the end of a chain.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) code: &'static str,
    pub(super) fault: Fault,
    detail: Cow<'static, str>,
}

impl Failure {
    /// The receiver's doing, or the network's.
    pub(super) fn theirs(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            fault: Fault::Theirs,
            detail: detail.into(),
        }
    }

    /// This process' doing.
    pub(super) fn ours(code: &'static str, cause: &dyn Error) -> Self {
        Self {
            code,
            fault: Fault::Ours,
            detail: cause.to_string().into(),
        }
    }

    /// A defect of ours.
    pub(super) fn internal(detail: &'static str) -> Self {
        Self {
            code: codes::INTERNAL_ERROR,
            fault: Fault::Ours,
            detail: detail.into(),
        }
    }

    /// The time was up.
    pub(super) fn timed_out(phase: Phase) -> Self {
        Self {
            code: phase.timeout_code(),
            fault: Fault::Theirs,
            detail: Cow::Borrowed(""),
        }
    }

    /// What the HTTP library reports. Its own sentence holds the URL, so only those of its causes are told.
    pub(super) fn of(error: &reqwest::Error, phase: Phase) -> Self {
        error
            .source()
            .and_then(|cause| find(cause, phase))
            .unwrap_or_else(|| {
                if error.is_timeout() {
                    Self::timed_out(phase)
                } else if error.is_connect() {
                    Self::theirs(codes::CONNECT_FAILED, innermost(error))
                } else if error.is_request() {
                    Self::theirs(codes::CONNECTION_CLOSED, innermost(error))
                } else {
                    Self::internal("the HTTP library refused the request")
                }
            })
    }

    /// The proxy cannot be reached, or does not let us in: not the receiver's doing.
    pub(super) fn no_proxy(detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: codes::PROXY_UNREACHABLE,
            fault: Fault::Ours,
            detail: detail.into(),
        }
    }

    /// What it is where it came through a proxy. What stands between us and the proxy is not the receiver's doing; that the
    /// proxy opens no way to the receiver may be. A connection that does not come in time may be either, and counts as the
    /// receiver's: else one that is dead would be tried for ever.
    pub(super) fn through_proxy(self, error: &reqwest::Error, phase: Phase) -> Self {
        match said_by_proxy(error).as_deref() {
            Some("failed to create underlying connection") => {}
            Some("proxy authorization required") => return Self::no_proxy("it wants a user"),
            Some(said) => {
                return Self::theirs(codes::PROXY_REFUSED, format!("the proxy: {said}"));
            }
            None => {}
        }
        let is_late = self.code.starts_with("timeout_") && phase != Phase::Dns;
        let is_on_the_way = matches!(phase, Phase::Dns | Phase::Tcp);
        if is_on_the_way && self.fault == Fault::Theirs && !is_late {
            return Self::no_proxy(self.detail);
        }
        self
    }

    /// Whether this process, not the other side, lacks something: descriptors, ports or memory.
    pub(super) fn is_local_resource(error: &io::Error) -> bool {
        // They have no `ErrorKind`: ENFILE, EMFILE and ENOBUFS, the last as Linux and as macOS number it.
        matches!(error.raw_os_error(), Some(23 | 24 | 55 | 105))
            || matches!(
                error.kind(),
                io::ErrorKind::OutOfMemory | io::ErrorKind::AddrInUse
            )
    }

    pub(super) fn outcome(self, duration: Duration) -> Outcome {
        Outcome {
            code: self.code.into(),
            fault: self.fault,
            status: None,
            retry_after: None,
            excerpt: Vec::new(),
            detail: (!self.detail.is_empty()).then(|| shown(&self.detail)),
            duration,
            certificate: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl Error for Failure {}

/// Of what a `CONNECT` came to. The type of this error cannot be named; only its text tells it, and a test reads it.
fn said_by_proxy(error: &reqwest::Error) -> Option<String> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(said) = error.to_string().strip_prefix("tunnel error: ") {
            return Some(said.to_owned());
        }
        cause = error.source();
    }
    None
}

/// The first error in the chain whose type says what happened.
fn find(error: &(dyn Error + 'static), phase: Phase) -> Option<Failure> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return Some(failure.clone());
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(Failure::theirs(tls_code(error), error.to_string()));
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        // What an `io::Error` wraps is not among its sources.
        return (error.get_ref())
            .and_then(|inner| find(inner, phase))
            .or_else(|| Some(io_failure(error, phase)));
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>()
        && let Some(code) = http_code(error)
    {
        return Some(Failure::theirs(code, innermost(error)));
    }
    error.source().and_then(|cause| find(cause, phase))
}

fn io_failure(error: &io::Error, phase: Phase) -> Failure {
    // Where there is no route, the resolver has noticed; so no address is left for our end: the ports are used up.
    let no_port = error.kind() == io::ErrorKind::AddrNotAvailable;
    if no_port || Failure::is_local_resource(error) {
        return Failure::ours(codes::LOCAL_RESOURCE, error);
    }
    let code = match error.kind() {
        io::ErrorKind::TimedOut => return Failure::timed_out(phase),
        io::ErrorKind::ConnectionRefused => codes::CONNECT_REFUSED,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => codes::CONNECT_UNREACHABLE,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            codes::CONNECTION_RESET
        }
        io::ErrorKind::UnexpectedEof if phase == Phase::Tls => codes::TLS_EOF,
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected
        | io::ErrorKind::WriteZero => codes::CONNECTION_CLOSED,
        _ if phase == Phase::Http => codes::CONNECTION_RESET,
        _ => codes::CONNECT_FAILED,
    };
    Failure::theirs(code, error.to_string())
}

/// `None` where the cause inside says more.
fn http_code(error: &hyper::Error) -> Option<&'static str> {
    if error.is_parse_status() {
        Some(codes::HTTP_INVALID_STATUS)
    } else if error.is_parse_too_large() {
        // hyper tells too many headers and too long ones by the same error.
        Some(codes::HTTP_HEAD_TOO_LARGE)
    } else if error.is_parse() {
        Some(codes::HTTP_PROTOCOL)
    } else if error.is_incomplete_message() {
        Some(codes::CONNECTION_CLOSED)
    } else if error.source().is_none() && !error.is_canceled() && !error.is_closed() {
        // An answer that nobody asked for, mostly.
        Some(codes::HTTP_PROTOCOL)
    } else {
        None
    }
}

fn tls_code(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(error) => certificate_code(error),
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13,
        ) => codes::TLS_NO_COMMON_VERSION,
        rustls::Error::AlertReceived(AlertDescription::InsufficientSecurity)
        | rustls::Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon | PeerIncompatible::NoKxGroupsInCommon,
        ) => codes::TLS_NO_COMMON_CIPHER,
        rustls::Error::AlertReceived(_) => codes::TLS_ALERT,
        rustls::Error::NoCertificatesPresented => codes::TLS_CERT_INVALID,
        _ => codes::TLS_PROTOCOL,
    }
}

fn certificate_code(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            codes::TLS_CERT_EXPIRED
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            codes::TLS_CERT_NOT_YET_VALID
        }
        CertificateError::UnknownIssuer => codes::TLS_CERT_UNKNOWN_ISSUER,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            codes::TLS_CERT_NAME_MISMATCH
        }
        CertificateError::Revoked => codes::TLS_CERT_REVOKED,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            codes::TLS_CERT_INVALID_PURPOSE
        }
        // The platform verifier hides a wrong purpose in a type of its own, which only its text tells.
        CertificateError::Other(other)
            if other
                .to_string()
                .contains("certificate had invalid extensions") =>
        {
            codes::TLS_CERT_INVALID_PURPOSE
        }
        _ => codes::TLS_CERT_INVALID,
    }
}

/// The names of a certificate and such come from the other side: bounded, and without what a terminal would obey.
fn shown(detail: &str) -> String {
    (detail.chars().take(MAX_DETAIL))
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
