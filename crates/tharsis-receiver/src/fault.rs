use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{Authority, Flaw, ReceiverError};

/// How a [`FaultServer`] misbehaves, on every connection alike.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Fault {
    /// Resets the connection as soon as it stands.
    ResetOnAccept,
    /// Closes the connection as soon as it stands.
    CloseOnAccept,
    /// Never says a word, so that the handshake does not begin.
    SilentHandshake,
    /// Answers the first bytes of the handshake with these, which are no `ServerHello`, and closes.
    Plain(Vec<u8>),
    /// Shakes hands and never reads a byte of the request.
    NeverReads,
    /// Shakes hands, reads the first bytes of the request, and resets.
    ResetWhileReading,
    /// Shakes hands, reads no more than the first byte of the request, writes these bytes, and goes on like that.
    AnswerUnread(Vec<u8>, Then),
    /// Reads the request, writes these bytes as they are, and goes on like that.
    Answer(Vec<u8>, Then),
    /// Reads the request and writes these bytes one at a time, over and over.
    Drip {
        /// Written at once.
        head: Vec<u8>,
        /// Written byte by byte.
        bytes: Vec<u8>,
        /// The pause before each byte.
        every: Duration,
    },
    /// Reads the request, writes `head`, then `chunk` for ever.
    Flood {
        /// Written once.
        head: Vec<u8>,
        /// Written for as long as the other side takes it.
        chunk: Vec<u8>,
    },
}

/// How a connection goes on after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The next request is answered the same.
    Again,
    /// It is closed as TLS wants it (`close_notify`).
    Close,
    /// It is closed without `close_notify`.
    Cut,
    /// It is reset.
    Reset,
    /// Our side is closed, theirs is still read.
    HalfClose,
    /// Nothing more comes, and it stays open.
    Hang,
}

/// A server that breaks the rules of TCP, TLS or HTTP, for tests of those who have to survive it. It lives until it
/// is dropped.
#[derive(Debug)]
pub struct FaultServer {
    address: SocketAddr,
    counts: Arc<Counts>,
    // Dropping it ends the server.
    _stop: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
    written: AtomicU64,
}

impl FaultServer {
    /// Listens on 127.0.0.1, on any free port, with a certificate of `authority`.
    ///
    /// # Errors
    /// When there is no port, or no certificate can be made.
    pub async fn bind(authority: &Authority, fault: Fault) -> Result<Self, ReceiverError> {
        Self::with_flaw(authority, None, fault).await
    }

    /// The same with something wrong about its certificate.
    ///
    /// # Errors
    /// When there is no port, or no certificate can be made.
    pub async fn with_flaw(
        authority: &Authority,
        flaw: Option<Flaw>,
        fault: Fault,
    ) -> Result<Self, ReceiverError> {
        let config = authority.issue(&[], flaw)?.server_config()?;
        let listen_error = |source| ReceiverError::Listen { port: 0, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let (stop, stopped) = watch::channel(());
        let counts = Arc::new(Counts::default());
        let server = Server {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            fault,
            counts: counts.clone(),
        };
        tokio::spawn(server.accept(listener, stopped));
        Ok(Self {
            address,
            counts,
            _stop: stop,
        })
    }

    /// `https://localhost:PORT` followed by `path`, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far, before any TLS.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Requests read so far.
    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// Bytes of answers that the other side, or the buffers on the way, took.
    pub fn written(&self) -> u64 {
        self.counts.written.load(Ordering::Relaxed)
    }
}

/// An address of loopback where nobody listens.
///
/// # Errors
/// When there is no port to be had.
pub fn closed_port() -> Result<SocketAddr, ReceiverError> {
    StdListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|source| ReceiverError::Listen { port: 0, source })
}

#[derive(Clone)]
struct Server {
    acceptor: TlsAcceptor,
    fault: Fault,
    counts: Arc<Counts>,
}

impl Server {
    async fn accept(self, listener: TcpListener, mut stopped: watch::Receiver<()>) {
        loop {
            let stream = tokio::select! {
                _ = stopped.changed() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(_) => return,
                },
            };
            self.counts.connections.fetch_add(1, Ordering::Relaxed);
            let (server, mut until) = (self.clone(), stopped.clone());
            tokio::spawn(async move {
                tokio::select! {
                    _ = until.changed() => {}
                    // The other side may leave whenever it wants: that is what is being tested.
                    _ = server.misbehave(stream) => {}
                }
            });
        }
    }

    async fn misbehave(self, mut stream: TcpStream) -> io::Result<()> {
        match &self.fault {
            Fault::ResetOnAccept => reset(stream),
            Fault::CloseOnAccept => {
                stream.shutdown().await?;
                // Closing with bytes unread would reset it.
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
                Ok(())
            }
            Fault::SilentHandshake => hang().await,
            Fault::Plain(bytes) => {
                stream.read_u8().await?;
                stream.write_all(bytes).await?;
                stream.shutdown().await
            }
            fault => {
                stream.set_nodelay(true)?;
                self.speak(fault, self.acceptor.accept(stream).await?).await
            }
        }
    }

    async fn speak(&self, fault: &Fault, mut stream: TlsStream<TcpStream>) -> io::Result<()> {
        match fault {
            Fault::ResetWhileReading => {
                stream.read_u8().await?;
                return reset(stream.into_inner().0);
            }
            Fault::AnswerUnread(bytes, then) => {
                stream.read_u8().await?;
                self.write(&mut stream, bytes).await?;
                return go_on(stream, *then).await;
            }
            Fault::NeverReads => return hang().await,
            _ => {}
        }
        loop {
            if !self.read_request(&mut stream).await? {
                return Ok(());
            }
            match fault {
                Fault::Answer(bytes, then) => {
                    self.write(&mut stream, bytes).await?;
                    if *then != Then::Again {
                        return go_on(stream, *then).await;
                    }
                }
                Fault::Drip { head, bytes, every } => {
                    self.write(&mut stream, head).await?;
                    for byte in bytes.iter().cycle() {
                        tokio::time::sleep(*every).await;
                        self.write(&mut stream, &[*byte]).await?;
                    }
                }
                Fault::Flood { head, chunk } => {
                    self.write(&mut stream, head).await?;
                    loop {
                        self.write(&mut stream, chunk).await?;
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    async fn write(&self, stream: &mut TlsStream<TcpStream>, bytes: &[u8]) -> io::Result<()> {
        stream.write_all(bytes).await?;
        stream.flush().await?;
        (self.counts.written).fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Reads one request whole; `false` when the other side has closed instead. Requests of ours have a
    /// `content-length` or no body.
    async fn read_request(&self, stream: &mut TlsStream<TcpStream>) -> io::Result<bool> {
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        let end = loop {
            if let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            match stream.read(&mut buffer).await? {
                0 => return Ok(false),
                n => request.extend_from_slice(&buffer[..n]),
            }
        };
        let mut missing = (end + content_length(&request[..end])).saturating_sub(request.len());
        while missing > 0 {
            match stream.read(&mut buffer).await? {
                0 => return Ok(false),
                n => missing = missing.saturating_sub(n),
            }
        }
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }
}

async fn go_on(mut stream: TlsStream<TcpStream>, then: Then) -> io::Result<()> {
    match then {
        Then::Again | Then::Close => stream.shutdown().await,
        Then::Cut => stream.into_inner().0.shutdown().await,
        Then::Reset => reset(stream.into_inner().0),
        Then::HalfClose => {
            stream.shutdown().await?;
            hang().await
        }
        Then::Hang => hang().await,
    }
}

/// With a linger of zero, closing sends a RST in place of a FIN.
fn reset(stream: TcpStream) -> io::Result<()> {
    stream.set_zero_linger()?;
    drop(stream);
    Ok(())
}

async fn hang() -> io::Result<()> {
    std::future::pending().await
}

fn content_length(head: &[u8]) -> usize {
    String::from_utf8_lossy(head)
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}
