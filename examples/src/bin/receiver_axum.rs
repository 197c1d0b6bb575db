//! Receives the webhooks of Tharsis with axum, verifies each, and prints one line of JSON for each that is genuine.
//!
//!     PORT=9443 TLS_CERT=server.pem TLS_KEY=server.key WEBHOOK_SECRET=… cargo run -p tharsis-examples --bin receiver_axum
//!
//! `HOST` is 127.0.0.1 unless given; `PORT=0` takes any free port. Only `tharsis-core` is needed to verify.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example shows what it does"
)]

use std::{env, io, net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::post,
    serve::Listener,
};
use tharsis_core::{
    profile::MARS,
    secret::Secret,
    signer::{self, Incoming},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
    server::TlsStream,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let variable = |name: &str| env::var(name).with_context(|| format!("{name} is not set"));
    let secret = Secret::new(&variable("WEBHOOK_SECRET")?)?;
    let host = env::var("HOST").unwrap_or_else(|_| "127.0.0.1".into());
    let port = env::var("PORT").unwrap_or_else(|_| "9443".into());

    let tcp = TcpListener::bind(format!("{host}:{port}")).await?;
    eprintln!("listening on https://{}", tcp.local_addr()?);
    let tls = tls(&variable("TLS_CERT")?, &variable("TLS_KEY")?)?;
    Ok(axum::serve(Https::new(tcp, tls)?, router(secret)).await?)
}

fn router(secret: Secret) -> Router {
    // Registration asks with one HEAD request whether somebody is there, and wants exactly 200.
    let hooks = post(receive).head(async || StatusCode::OK);
    Router::new()
        .route("/", hooks.clone())
        .route("/{*path}", hooks)
        .layer(DefaultBodyLimit::max(MARS.payload_limit))
        .with_state(Arc::new(secret))
}

async fn receive(
    State(secret): State<Arc<Secret>>,
    headers: HeaderMap,
    // The bytes as they came: extracting `Json` here would leave nothing to verify.
    body: Bytes,
) -> StatusCode {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let incoming = Incoming {
        headers: &headers,
        body: &body,
        // Mars signs the body alone.
        url: None,
        now: None,
    };
    if let Err(rejected) = signer::verify(&MARS, Some(&secret), &incoming) {
        // Why is for our own log; the sender learns no more than that.
        eprintln!("refused: {rejected}");
        return StatusCode::UNAUTHORIZED;
    }
    // Take it down first and answer at once: the work comes later, since the sender waits three seconds and no longer.
    // An event can come twice; whoever must act once remembers its id.
    println!("{}", String::from_utf8_lossy(&body));
    StatusCode::OK
}

fn tls(certificate: &str, key: &str) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Connections after their handshake. Each handshake is a task of its own, so that one who dawdles delays nobody.
struct Https {
    address: SocketAddr,
    accepted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl Https {
    fn new(tcp: TcpListener, tls: TlsAcceptor) -> io::Result<Self> {
        let address = tcp.local_addr()?;
        let (sender, accepted) = mpsc::channel(64);
        tokio::spawn(async move {
            let mut tcp = tcp;
            loop {
                // axum's own accept: it waits when descriptors run out, where giving up would end the server.
                let (stream, peer) = Listener::accept(&mut tcp).await;
                let (tls, sender) = (tls.clone(), sender.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        sender.send((stream, peer)).await.ok();
                    }
                });
            }
        });
        Ok(Self { address, accepted })
    }
}

impl Listener for Https {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // The task above never ends.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
