//! A browser, as far as one cookie goes. It asks our own server for pages, on a connection for each.

use std::time::{Duration, Instant};

use anyhow::Context;
use tharsis::token::Token;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// One that is signed in.
pub(crate) struct Browser {
    address: String,
    cookie: String,
}

/// A page that was answered.
#[derive(Debug)]
pub(crate) struct Answered {
    /// From the connection to the last byte.
    pub(crate) took: Duration,
    /// Of the page, without its head.
    pub(crate) bytes: usize,
}

impl Browser {
    /// Sends the form that asks for a token.
    pub(crate) async fn sign_in(address: &str, token: &Token) -> anyhow::Result<Self> {
        let form = format!("token={}", token.expose());
        let request = format!(
            "POST /sign-in HTTP/1.1\r\nhost: {address}\r\norigin: http://{address}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{form}",
            form.len()
        );
        let answer = exchange(address, &request).await?;
        let (head, _) = parts(&answer)?;
        let set = head
            .lines()
            .find_map(|line| line.strip_prefix("set-cookie: "));
        let cookie = set.and_then(|set| set.split(';').next());
        let cookie = cookie.context("the token was not taken")?;
        Ok(Self {
            address: address.to_owned(),
            cookie: cookie.to_owned(),
        })
    }

    /// The page, which is there.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Answered> {
        let Self { address, cookie } = self;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\ncookie: {cookie}\r\naccept: text/html\r\n\
             connection: close\r\n\r\n"
        );
        let began = Instant::now();
        let answer = exchange(address, &request).await?;
        let took = began.elapsed();
        let (head, page) = parts(&answer)?;
        anyhow::ensure!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        Ok(Answered {
            took,
            bytes: page.len(),
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "our own server is asked, on this machine"
)]
async fn exchange(address: &str, request: &str) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The head of an answer, and what stands behind it.
fn parts(answer: &[u8]) -> anyhow::Result<(&str, &str)> {
    let text = std::str::from_utf8(answer)?;
    text.split_once("\r\n\r\n").context("it hung up")
}
