//! WebDriver, as far as one session goes: JSON over HTTP/1.1, to a driver on this machine. The crate that speaks it all
//! (fantoccini) brings a second, older version of a dozen others along, which `deny.toml` refuses.

use std::{
    fmt::Display,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::{Value, json};

/// What a command may take at most, with the page that it loads.
const BOUND: Duration = Duration::from_secs(60);

/// A session, which is one browser.
#[derive(Debug)]
pub(crate) struct Session {
    driver: SocketAddr,
    path: String,
}

impl Session {
    /// Has the driver start a browser with these capabilities.
    #[track_caller]
    pub(crate) fn begin(driver: SocketAddr, capabilities: &Value) -> Self {
        let wanted = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let begun = ask(driver, "POST", "/session", &wanted.to_string());
        let begun = begun.unwrap_or_else(|problem| panic!("no browser starts: {problem}"));
        let id = begun["sessionId"].as_str().expect("a session has an id");
        Self {
            driver,
            path: format!("/session/{id}"),
        }
    }

    /// Carries out a command, and gives what came of it.
    pub(crate) fn command(&self, name: &str, parameters: &Value) -> Result<Value, String> {
        let path = format!("{}/{name}", self.path);
        ask(self.driver, "POST", &path, &parameters.to_string())
    }

    /// Ends it, and returns when its browser is gone.
    pub(crate) fn end(&self) -> Result<(), String> {
        ask(self.driver, "DELETE", &self.path, "").map(drop)
    }
}

fn ask(driver: SocketAddr, method: &str, path: &str, body: &str) -> Result<Value, String> {
    let problem = |problem: &dyn Display| format!("{method} {path}: {problem}");
    let answer = exchange(driver, method, path, body).map_err(|error| problem(&error))?;
    let mut answer: Value = serde_json::from_slice(&answer).map_err(|error| problem(&error))?;
    let value = answer["value"].take();
    match value["error"].as_str() {
        None => Ok(value),
        Some(code) => Err(problem(&format_args!("{code}: {}", value["message"]))),
    }
}

/// Sends a request, and reads the body of its answer.
#[expect(
    clippy::disallowed_methods,
    reason = "the driver is asked, on this machine"
)]
fn exchange(driver: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect(driver)?;
    connection.set_read_timeout(Some(BOUND))?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {driver}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    connection.write_all(request.as_bytes())?;
    // The driver keeps the connection, so its body ends with its length.
    let mut reader = BufReader::new(connection);
    let mut length: usize = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}
