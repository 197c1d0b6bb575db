use std::{
    ffi::OsString,
    fmt, fs,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime, pem::PemObject,
};

use crate::{ReceiverError, clock};

const DAY: Duration = Duration::from_hours(24);

/// Every leaf is good for these.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate authority for local work. Whoever trusts its certificate trusts whatever its key signs, so the key
/// stays on this machine.
///
/// Its name holds the first digits of its public key: two authorities are never taken for one another.
#[derive(Debug, Clone)]
pub struct Authority(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// What may be wrong with a leaf certificate, for tests of those who have to notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flaw {
    /// It ended yesterday.
    Expired,
    /// It ends in five days: good, and soon not any more.
    EndsSoon,
    /// It begins tomorrow.
    NotYetValid,
    /// It is good for `elsewhere.invalid` only.
    WrongName,
    /// It is good for the addresses of loopback, but for no name.
    AddressOnly,
    /// It signs itself.
    SelfSigned,
    /// It is signed by an authority that nobody has heard of, which an intermediate that is not sent along is too.
    UnknownIssuer,
    /// It may only authenticate clients.
    ClientAuthOnly,
    /// It is an authority's own.
    IsAuthority,
}

/// A certificate with its chain and key.
pub struct Leaf {
    /// The leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl Authority {
    /// A new one, kept nowhere.
    ///
    /// # Errors
    /// When the machine has no randomness to give.
    pub fn generate() -> Result<Self, ReceiverError> {
        let key = KeyPair::generate()?;
        let params = authority_params(&key);
        let certificate = params.self_signed(&key)?;
        Ok(Self(Arc::new(Inner {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        })))
    }

    /// The one whose certificate is the file `path`, or a new one that is written there. Its key lies beside it in
    /// `<path>.key`, readable by its owner alone, so that the certificate's file can be handed round.
    ///
    /// # Errors
    /// When a file cannot be read or written, or the two do not belong together.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, ReceiverError> {
        let path = path.as_ref();
        let key_path = key_path(path);
        if path.exists() || key_path.exists() {
            return Self::load(path, &key_path);
        }
        let authority = Self::generate()?;
        // The key first: a certificate without its key would be refused by the next start.
        write_new(&key_path, &authority.0.issuer.key().serialize_pem(), 0o600)?;
        write_new(path, authority.pem(), 0o644)?;
        Ok(authority)
    }

    fn load(path: &Path, key_path: &Path) -> Result<Self, ReceiverError> {
        let mismatch = || ReceiverError::Mismatch {
            certificate: path.to_owned(),
            key: key_path.to_owned(),
        };
        let pem = read(path)?;
        let key = KeyPair::from_pem(&read(key_path)?).map_err(|_| mismatch())?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| mismatch())?;
        let authority = Self(Arc::new(Inner {
            issuer: Issuer::new(authority_params(&key), key),
            certificate,
            pem,
        }));
        let leaf = authority.issue(&[], None)?;
        if authority.vouches_for(&leaf) {
            Ok(authority)
        } else {
            Err(mismatch())
        }
    }

    /// Its certificate in PEM: what a client is given to trust.
    pub fn pem(&self) -> &str {
        &self.0.pem
    }

    /// A certificate for loopback and `names`, valid from yesterday for 397 days, or one with a flaw.
    ///
    /// # Errors
    /// When a name is none.
    pub fn issue(&self, names: &[String], flaw: Option<Flaw>) -> Result<Leaf, ReceiverError> {
        let now = clock::now();
        let key = KeyPair::generate()?;
        let params = leaf_params(names, flaw, now)?;
        let certificate = match flaw {
            Some(Flaw::SelfSigned) => params.self_signed(&key)?,
            Some(Flaw::UnknownIssuer) => params.signed_by(&key, &Self::generate()?.0.issuer)?,
            _ => params.signed_by(&key, &self.0.issuer)?,
        };
        Ok(Leaf {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }

    fn vouches_for(&self, leaf: &Leaf) -> bool {
        let mut roots = RootCertStore::empty();
        if roots.add(self.0.certificate.clone()).is_err() {
            return false;
        }
        let Ok(verifier) =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()
        else {
            return false;
        };
        let name = ServerName::try_from("localhost").expect("it is a host name");
        let since = clock::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        verifier
            .verify_server_cert(
                &leaf.chain[0],
                &[],
                &name,
                &[],
                UnixTime::since_unix_epoch(since),
            )
            .is_ok()
    }
}

impl Leaf {
    /// TLS 1.2 and 1.3, HTTP/1.1, no client certificates.
    ///
    /// # Errors
    /// When the key does not belong to the certificate.
    pub fn server_config(self) -> Result<ServerConfig, ReceiverError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain, self.key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").finish_non_exhaustive()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

// Everything in it follows from the key, so that the key alone is enough to go on issuing.
fn authority_params(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    // The first byte of an uncompressed point (SEC 1) is always 4.
    let digits: String = key
        .der_bytes()
        .iter()
        .skip(1)
        .take(4)
        .map(|b| format!("{b:02x}"))
        .collect();
    params.distinguished_name = common_name(&format!("Tharsis local authority {digits}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2050, 1, 1);
    params
}

fn leaf_params(
    names: &[String],
    flaw: Option<Flaw>,
    now: SystemTime,
) -> Result<CertificateParams, ReceiverError> {
    let names: Vec<String> = match flaw {
        Some(Flaw::WrongName) => vec!["elsewhere.invalid".to_owned()],
        Some(Flaw::AddressOnly) => LOOPBACK[1..].iter().map(|n| (*n).to_owned()).collect(),
        _ => (LOOPBACK.iter().map(|n| (*n).to_owned()))
            .chain(names.iter().cloned())
            .collect(),
    };
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = common_name("Tharsis local receiver");
    // The longest that every platform's verifier takes for a server is 398 days.
    let (from, until) = match flaw {
        Some(Flaw::Expired) => (now - 30 * DAY, now - DAY),
        Some(Flaw::EndsSoon) => (now - 30 * DAY, now + 5 * DAY),
        Some(Flaw::NotYetValid) => (now + DAY, now + 30 * DAY),
        _ => (now - DAY, now + 396 * DAY),
    };
    params.not_before = from.into();
    params.not_after = until.into();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match flaw {
        Some(Flaw::ClientAuthOnly) => ExtendedKeyUsagePurpose::ClientAuth,
        _ => ExtendedKeyUsagePurpose::ServerAuth,
    }];
    params.use_authority_key_identifier_extension = true;
    params.is_ca = match flaw {
        Some(Flaw::IsAuthority) => IsCa::Ca(BasicConstraints::Unconstrained),
        _ => IsCa::ExplicitNoCa,
    };
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn key_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".key");
    PathBuf::from(name)
}

fn read(path: &Path) -> Result<String, ReceiverError> {
    fs::read_to_string(path).map_err(|source| ReceiverError::File {
        path: path.to_owned(),
        source,
    })
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), ReceiverError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| ReceiverError::File {
            path: path.to_owned(),
            source,
        })
}
