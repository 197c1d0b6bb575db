//! Whom the client trusts.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, NamedGroup, RootCertStore,
    SignatureScheme,
    client::{
        ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use rustls_platform_verifier::Verifier;

use super::{
    ClientError, certificate,
    phase::{self, Phase},
};

/// TLS 1.2 and 1.3, the roots of the platform and those of `ca_file`.
#[expect(
    clippy::disallowed_methods,
    reason = "the platform's verifier is the one that verifies"
)]
pub(super) fn config(ca_file: Option<&Path>) -> Result<ClientConfig, ClientError> {
    let extra = ca_file.map(certificates).transpose()?.unwrap_or_default();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Verifier::new_with_extra_roots(extra, provider.clone()).map_err(|error| {
        ClientError {
            code: "no_trusted_roots",
            message: format!("this machine trusts no certificate authority: {error}"),
            hint: "install the system's CA certificates (package ca-certificates), or give a CA file (--egress-ca-file)".to_owned(),
        }
    })?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites of both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Noticing(verifier)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::store(Arc::new(NoSessions));
    Ok(config)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let pem = std::fs::read(file).map_err(|error| ClientError {
        code: "ca_file_unreadable",
        message: format!("the CA file {} cannot be read: {error}", file.display()),
        hint: "give the path of a file with certificates in PEM".to_owned(),
    })?;
    let invalid = |what: String| ClientError {
        code: "ca_file_invalid",
        message: format!("the CA file {} {what}", file.display()),
        hint: "it must hold certificates in PEM: -----BEGIN CERTIFICATE-----".to_owned(),
    };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(format!("is damaged: {error}")))?;
    if certificates.is_empty() {
        return Err(invalid("holds no certificate".to_owned()));
    }
    for certificate in &certificates {
        (RootCertStore::empty().add(certificate.clone()))
            .map_err(|error| invalid(format!("holds something that is no authority: {error}")))?;
    }
    Ok(certificates)
}

/// The platform's judgement, and a note of how long what it found good is so.
#[derive(Debug)]
struct Noticing(Verifier);

impl ServerCertVerifier for Noticing {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = (self.0).verify_server_cert(leaf, others, name, ocsp, now)?;
        if let Some(validity) = certificate::validity(leaf) {
            phase::saw_certificate(validity);
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.0.root_hint_subjects()
    }
}

/// Resumes nothing: each connection verifies the receiver's certificate, so that one that has expired or was replaced is
/// noticed at the next connection. In TLS 1.3 resuming would save no round trip, only the verification.
#[derive(Debug)]
struct NoSessions;

impl ClientSessionStore for NoSessions {
    /// The first thing that a handshake asks for.
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        phase::reached(Phase::Tls);
        None
    }

    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {}

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}
