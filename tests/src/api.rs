//! The HTTP API and the dashboard, asked as any program would ask them: over a socket, in plain HTTP/1.1.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

use crate::{Running, World, wait_until};

/// What a machine under load may need for an answer.
const SOON: Duration = Duration::from_secs(30);

/// `tharsis serve`, and where it listens.
#[derive(Debug)]
pub struct Api {
    /// The process.
    pub process: Running,
    address: SocketAddr,
}

/// What it answered.
#[derive(Debug)]
pub struct Answer {
    /// 200, 404, …
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub body: String,
}

impl Answer {
    /// The body, which is JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        values.next().map(|(_, value)| &**value)
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }

    /// The code of a refusal with this status.
    #[track_caller]
    pub fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        let code = problem["code"].as_str().expect("a code").to_owned();
        assert_eq!(problem["type"], format!("urn:tharsis:problem:{code}"));
        code
    }
}

impl Api {
    /// Starts it on a free port, with these flags.
    #[track_caller]
    pub fn start(world: &World, flags: &[&str]) -> Self {
        let arguments = ["--json", "serve", "--listen", "127.0.0.1:0"];
        let process = world.spawn(arguments.iter().chain(flags));
        let address = wait_until("the API listens", SOON, || {
            let told = process.stdout();
            let line: Value = serde_json::from_str(told.lines().next()?).ok()?;
            line["listening"].as_str()?.parse().ok()
        });
        Self { process, address }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks without a body.
    #[track_caller]
    pub fn get(&self, token: &str, path: &str) -> Answer {
        self.ask("GET", path, &[("authorization", &bearer(token))], b"")
    }

    /// Asks with a body of JSON, which may be none.
    #[track_caller]
    pub fn post(&self, token: &str, path: &str, body: &str) -> Answer {
        let headers = [
            ("authorization", &*bearer(token)),
            ("content-type", "application/json"),
        ];
        self.ask("POST", path, &headers, body.as_bytes())
    }

    /// Asks anything, under the address that it listens on unless another `host` is among the headers.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        ask(self.address, method, path, headers, body)
    }
}

/// Asks whatever listens there, under its address unless another `host` is among the headers.
#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "our own server is asked, on this machine"
)]
pub fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut connection = TcpStream::connect(address).expect("it listens");
    connection.set_read_timeout(Some(SOON)).expect("a bound");
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    if !headers.iter().any(|(name, _)| *name == "host") {
        head.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    connection.write_all(head.as_bytes()).expect("it reads");
    // A server that refuses early need not read all of it.
    let _ = connection.write_all(body);
    let mut text = Vec::new();
    // Nor has it to read what it refuses before it closes.
    let _ = connection.read_to_end(&mut text);
    parse(&String::from_utf8(text).expect("text"))
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[track_caller]
fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    Answer {
        status: status.and_then(|word| word.parse().ok()).expect("a status"),
        headers: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}
