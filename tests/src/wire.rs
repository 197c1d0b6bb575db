use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// A way to the PostgreSQL of the tests that counts what is asked on it, by the messages that a client sends
/// (PostgreSQL's documentation, section 55.7).
#[derive(Debug)]
pub struct Wire {
    url: String,
    asked: Arc<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    statements: AtomicU64,
    round_trips: AtomicU64,
}

impl Wire {
    /// A way to where this URL of an outbox leads.
    pub(crate) async fn to(url: &str, server: &PgConnectOptions) -> io::Result<Self> {
        assert!(
            server.get_socket().is_none(),
            "give TEST_DATABASE_URL with a host and a port"
        );
        let target = (server.get_host().to_owned(), server.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let asked = Arc::<Asked>::default();
        let wire = Self {
            url: at_port(url, listener.local_addr()?.port()),
            asked: Arc::clone(&asked),
        };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = connect(&target).await;
                tokio::spawn(pass(client, server, Arc::clone(&asked)));
            }
        });
        Ok(wire)
    }

    /// The outbox by this way.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many statements the server was asked to execute so far.
    pub fn statements(&self) -> u64 {
        self.asked.statements.load(Relaxed)
    }

    /// How often a client has waited for the server's answer so far.
    pub fn round_trips(&self) -> u64 {
        self.asked.round_trips.load(Relaxed)
    }
}

/// The same URL with this port of this machine, and in the clear.
fn at_port(url: &str, port: u16) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let user = authority.rfind('@').map_or("", |at| &authority[..=at]);
    let sign = if path.contains('?') { '&' } else { '?' };
    format!("{scheme}://{user}127.0.0.1:{port}{path}{sign}sslmode=disable")
}

#[expect(
    clippy::disallowed_methods,
    reason = "a database is no receiver of webhooks"
)]
async fn connect((host, port): &(String, u16)) -> io::Result<TcpStream> {
    let server = TcpStream::connect((host.as_str(), *port)).await?;
    server.set_nodelay(true)?;
    Ok(server)
}

/// Ends where either side does, or where there is no server.
async fn pass(client: TcpStream, server: io::Result<TcpStream>, asked: Arc<Asked>) {
    let Ok(server) = server else {
        return;
    };
    let (mut from_server, to_server) = server.into_split();
    let (from_client, mut to_client) = client.into_split();
    tokio::select! {
        _ = copy(&mut from_server, &mut to_client) => {}
        _ = count(from_client, to_server, &asked) => {}
    }
}

async fn count(from: OwnedReadHalf, to: OwnedWriteHalf, asked: &Asked) -> io::Result<()> {
    let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
    // The first message has no kind.
    pass_message(&mut from, &mut to).await?;
    to.flush().await?;
    loop {
        let kind = from.read_u8().await?;
        to.write_u8(kind).await?;
        match kind {
            b'E' => drop(asked.statements.fetch_add(1, Relaxed)),
            b'S' => drop(asked.round_trips.fetch_add(1, Relaxed)),
            b'Q' => {
                asked.statements.fetch_add(1, Relaxed);
                asked.round_trips.fetch_add(1, Relaxed);
            }
            _ => {}
        }
        pass_message(&mut from, &mut to).await?;
        if from.buffer().is_empty() {
            to.flush().await?;
        }
    }
}

/// A length, which counts itself, and the rest.
async fn pass_message(
    from: &mut BufReader<OwnedReadHalf>,
    to: &mut BufWriter<OwnedWriteHalf>,
) -> io::Result<()> {
    let length = from.read_u32().await?;
    to.write_u32(length).await?;
    let mut rest = from.take(u64::from(length.saturating_sub(4)));
    copy(&mut rest, to).await?;
    Ok(())
}
