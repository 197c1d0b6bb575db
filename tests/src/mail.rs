use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::World;

/// As whom one may send, where TLS is spoken.
const LOGIN: (&str, &str) = ("tharsis", "an smtp password");

/// A mail server on this machine, which keeps what it is sent and sends it nowhere.
pub struct MailServer {
    /// Where it listens, once it is [started](Self::start).
    pub port: u16,
    tls: Tls,
    acceptor: TlsAcceptor,
    letters: Arc<Mutex<Vec<Letter>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What a mail server is spoken to with, as the configuration has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// From the first byte on.
    Required,
    /// After `STARTTLS`.
    StartTls,
    /// None.
    None,
}

/// A mail that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Whom the envelope was addressed to.
    pub to: String,
    /// The header's.
    pub subject: String,
    /// Head and body.
    pub text: String,
}

impl fmt::Debug for MailServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailServer")
            .field("port", &self.port)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl MailServer {
    /// One that is down: its port is free, and nothing listens on it. The world is configured to send by it.
    pub fn down(world: &World, tls: Tls) -> Self {
        let port = world.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            listener.local_addr().expect("it is bound").port()
        });
        let leaf = world.authority().issue(&[], None);
        let config = leaf.expect("a certificate").server_config();
        let word = match tls {
            Tls::Required => "required",
            Tls::StartTls => "starttls",
            Tls::None => "none",
        };
        world.write("smtp.password", format!("{}\n", LOGIN.1));
        let login = match tls {
            Tls::None => String::new(),
            _ => format!(
                "user = \"{}\"\npassword_file = \"smtp.password\"\n",
                LOGIN.0
            ),
        };
        world.configure(&format!(
            "[smtp]\nhost = \"localhost\"\nport = {port}\ntls = \"{word}\"\nfrom = \"tharsis@house.example\"\n\
             ca_file = \"ca.pem\"\n{login}"
        ));
        Self {
            port,
            tls,
            acceptor: TlsAcceptor::from(Arc::new(config.expect("it can be used"))),
            letters: Arc::default(),
            task: Mutex::new(None),
        }
    }

    /// One that is up.
    pub fn up(world: &World, tls: Tls) -> Self {
        let server = Self::down(world, tls);
        server.start(world);
        server
    }

    /// From now on it listens.
    pub fn start(&self, world: &World) {
        let (tls, acceptor, letters) = (self.tls, self.acceptor.clone(), self.letters.clone());
        let listener = TcpListener::bind(("127.0.0.1", self.port));
        let listener = world.block_on(listener).expect("the port is still free");
        let task = world.background(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, letters) = (acceptor.clone(), letters.clone());
                // Whoever hangs up has nothing more to say.
                tokio::spawn(async move {
                    let _ = converse(stream, tls, &acceptor, &letters).await;
                });
            }
        });
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// What was taken, oldest first.
    pub fn letters(&self) -> Vec<Letter> {
        let letters = self.letters.lock();
        letters.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The subjects of what was taken for this person, oldest first.
    pub fn subjects(&self, to: &str) -> Vec<String> {
        let letters = self.letters();
        let theirs = letters.into_iter().filter(|letter| letter.to == to);
        theirs.map(|letter| letter.subject).collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &*task {
            task.abort();
        }
    }
}

async fn converse(
    stream: TcpStream,
    tls: Tls,
    acceptor: &TlsAcceptor,
    letters: &Mutex<Vec<Letter>>,
) -> std::io::Result<()> {
    match tls {
        Tls::Required => {
            let stream = acceptor.accept(stream).await?;
            Session::new(stream, letters, true, false)
                .serve(true)
                .await
                .map(drop)
        }
        Tls::None => Session::new(stream, letters, false, false)
            .serve(true)
            .await
            .map(drop),
        Tls::StartTls => {
            let plain = Session::new(stream, letters, false, true)
                .serve(true)
                .await?;
            let Some(stream) = plain else {
                return Ok(());
            };
            let stream = acceptor.accept(stream).await?;
            Session::new(stream, letters, true, false)
                .serve(false)
                .await
                .map(drop)
        }
    }
}

/// A conversation as RFC 5321 has it, and no word more.
struct Session<'a, S> {
    stream: BufReader<S>,
    letters: &'a Mutex<Vec<Letter>>,
    is_secret: bool,
    offers_tls: bool,
    is_known: bool,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Session<'a, S> {
    fn new(stream: S, letters: &'a Mutex<Vec<Letter>>, is_secret: bool, offers_tls: bool) -> Self {
        Self {
            stream: BufReader::new(stream),
            letters,
            is_secret,
            offers_tls,
            // Who is on this machine need not say who they are.
            is_known: !is_secret && !offers_tls,
        }
    }

    async fn say(&mut self, text: &str) -> std::io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(format!("{text}\r\n").as_bytes()).await?;
        stream.flush().await
    }

    async fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Returns the stream where TLS is to follow.
    async fn serve(mut self, greets: bool) -> std::io::Result<Option<S>> {
        if greets {
            self.say("220 localhost").await?;
        }
        let mut to = Vec::new();
        loop {
            let line = self.line().await?;
            let verb = line.split(' ').next().unwrap_or_default().to_uppercase();
            match &*verb {
                "EHLO" if self.offers_tls => self.say("250-localhost\r\n250 STARTTLS").await?,
                "EHLO" if self.is_secret => self.say("250-localhost\r\n250 AUTH PLAIN").await?,
                "EHLO" => self.say("250 localhost").await?,
                "STARTTLS" if self.offers_tls => {
                    self.say("220 go ahead").await?;
                    return Ok(Some(self.stream.into_inner()));
                }
                "AUTH" => {
                    let (user, password) = LOGIN;
                    let wanted = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
                    self.is_known = line.ends_with(&format!("PLAIN {wanted}"));
                    let said = if self.is_known {
                        "235 welcome"
                    } else {
                        "535 who are you"
                    };
                    self.say(said).await?;
                }
                "MAIL" if !self.is_known => self.say("530 who are you").await?,
                "RCPT" if line.contains("nobody@") => self.say("550 no such person here").await?,
                "RCPT" => {
                    let address = line.split(['<', '>']).nth(1).unwrap_or_default();
                    to.push(address.to_owned());
                    self.say("250 ok").await?;
                }
                "DATA" => {
                    self.say("354 go on").await?;
                    let text = self.data().await?;
                    let subject = text.lines().find_map(|line| line.strip_prefix("Subject: "));
                    let subject = subject.unwrap_or_default().to_owned();
                    self.keep(to.drain(..), &subject, &text);
                    self.say("250 2.0.0 kept as number 7").await?;
                }
                "QUIT" => {
                    self.say("221 bye").await?;
                    return Ok(None);
                }
                "" => return Ok(None),
                _ => self.say("250 ok").await?,
            }
        }
    }

    fn keep(&self, to: impl Iterator<Item = String>, subject: &str, text: &str) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.extend(to.map(|to| Letter {
            to,
            subject: subject.to_owned(),
            text: text.to_owned(),
        }));
    }

    async fn data(&mut self) -> std::io::Result<String> {
        let mut text = String::new();
        loop {
            let line = self.line().await?;
            if line == "." {
                // Lines that were broken to be short (quoted-printable) are whole again.
                return Ok(text.replace("=\n", "").replace("=3D", "="));
            }
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
            text.push('\n');
        }
    }
}
