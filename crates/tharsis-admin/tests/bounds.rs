//! What one caller may take of the server: connections, time and turns.

use std::{cell::Cell, io, net::SocketAddr, num::NonZeroU32, sync::Arc, time::Duration};

use tharsis::{
    Emitter, Registry as _, Timestamp,
    store::{By, TokenDraft},
    token::{Grant, Role, Token},
};
use tharsis_admin::{Options, serve};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// What a machine under load may need for anything that takes milliseconds.
const SOON: Duration = Duration::from_secs(20);

thread_local! {
    /// The server's clock, which stands still unless a story moves it. All of a story is on one thread.
    static NOW: Cell<i64> = const { Cell::new(1_700_000_000_000) };
}

fn now() -> Timestamp {
    Timestamp::from_millis(NOW.get())
}

/// A server on a database of its own.
struct Server {
    address: SocketAddr,
    token: Token,
    end: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start(role: Role, change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("outbox.db").display());
        let emitter = Emitter::open(&url, tharsis::Options::default()).await;
        let emitter = emitter.expect("it opens");
        let token = Token::generate([7; 32]);
        let draft = TokenDraft {
            name: "a caller".to_owned(),
            grant: Grant { role, client: None },
            expires_at: None,
        };
        let added = emitter
            .registry()
            .add_token(&token, &draft, By::new("a test", now()));
        added.await.expect("it is added");
        let mut options = Options::new(now);
        options.hosts = vec!["x".to_owned()];
        change(&mut options);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (end, ended) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, Arc::new(emitter), options, async {
            let _ = ended.await;
        }));
        Self {
            address,
            token,
            end: Some(end),
            serving,
            _folder: folder,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "our own server is asked, on this machine"
    )]
    async fn call(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    /// What is answered to a request without a body, over a connection that is closed after it.
    async fn get(&self, path: &str, token: &str) -> String {
        let mut connection = self.call().await;
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        connection
            .write_all(head.as_bytes())
            .await
            .expect("it reads");
        rest(connection).await.expect("it answers")
    }

    /// What is answered to the form that asks for a token.
    async fn sign_in(&self) -> String {
        let form = format!("token={}", self.token.expose());
        let connection = self.begin_to_sign_in(&form, form.len()).await;
        rest(connection).await.expect("it answers")
    }

    /// A connection over which so much of that form was sent, which is so long.
    async fn begin_to_sign_in(&self, form: &str, length: usize) -> TcpStream {
        let mut connection = self.call().await;
        let sent = format!(
            "POST /sign-in HTTP/1.1\r\nhost: x\r\norigin: http://x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{form}"
        );
        let write = connection.write_all(sent.as_bytes()).await;
        write.expect("it reads");
        connection
    }
}

/// All that comes until the other side closes.
async fn rest(mut connection: impl AsyncRead + Unpin) -> io::Result<String> {
    let mut text = String::new();
    timeout(SOON, connection.read_to_string(&mut text))
        .await
        .expect("it closes")?;
    Ok(text)
}

#[tokio::test]
async fn who_sends_half_a_head_is_cut_off() {
    let server = Server::start(Role::Viewer, |options| {
        options.patience = Duration::from_millis(100);
    })
    .await;
    let mut connection = server.call().await;
    let half = b"GET /healthz HTTP/1.1\r\nhost: x\r\n";
    connection.write_all(half).await.expect("it reads");
    // However it says so, nothing is answered.
    let told = rest(connection).await.unwrap_or_default();
    assert!(!told.contains("200 OK"), "{told}");
    // So is one that says nothing.
    assert_eq!(rest(server.call().await).await.unwrap_or_default(), "");
    let answered = server.get("/healthz", "").await;
    assert!(answered.starts_with("HTTP/1.1 200 OK"), "{answered}");
}

#[tokio::test]
async fn who_reads_no_answer_is_cut_off() {
    let server = Server::start(Role::Viewer, |options| {
        options.patience = Duration::from_millis(100);
    })
    .await;
    let mut connection = server.call().await;
    let many = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    // Until what it answers fills all that lies between.
    let cut_off = timeout(SOON, async {
        while connection.write_all(&many).await.is_ok() {}
    });
    cut_off.await.expect("it is cut off");
    let answered = server.get("/healthz", "").await;
    assert!(answered.starts_with("HTTP/1.1 200 OK"), "{answered}");
}

#[tokio::test]
async fn who_comes_when_all_places_are_taken_waits_for_one() {
    let server = Server::start(Role::Viewer, |options| {
        options.connections = 1;
    })
    .await;
    let taken = server.call().await;
    let waiting = server.get("/healthz", "");
    tokio::pin!(waiting);
    let early = timeout(Duration::from_millis(200), waiting.as_mut()).await;
    assert!(early.is_err(), "{early:?}");
    drop(taken);
    let answered = waiting.await;
    assert!(answered.starts_with("HTTP/1.1 200 OK"), "{answered}");
}

#[tokio::test]
async fn a_token_asks_so_often_and_goes_on_later() {
    let server = Server::start(Role::Viewer, |options| {
        options.rate = NonZeroU32::new(2).expect("is not nought");
    })
    .await;
    let token = server.token.expose();
    let ask = || server.get("/v1/subscriptions", token);
    for _ in 0..2 {
        let answered = ask().await;
        assert!(answered.starts_with("HTTP/1.1 200 OK"), "{answered}");
    }
    let refused = ask().await;
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
    assert!(
        refused.contains(r#""code":"too_many_requests""#),
        "{refused}"
    );
    NOW.set(NOW.get() + 500);
    let answered = ask().await;
    assert!(answered.starts_with("HTTP/1.1 200 OK"), "{answered}");
}

#[tokio::test]
async fn who_guesses_tokens_is_slowed_and_keeps_nobody_out() {
    let server = Server::start(Role::Viewer, |_| {}).await;
    let guess = Token::generate([8; 32]);
    let mut answers = Vec::new();
    for _ in 0..11 {
        answers.push(server.get("/v1/subscriptions", guess.expose()).await);
    }
    let last = answers.pop().expect("eleven");
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
    assert!(last.starts_with("HTTP/1.1 429 "), "{last}");
    // From the same address.
    let answered = server.get("/v1/subscriptions", server.token.expose()).await;
    assert!(answered.starts_with("HTTP/1.1 200 OK"), "{answered}");
}

#[tokio::test]
async fn a_token_signs_in_as_often_as_it_asks() {
    let server = Server::start(Role::Viewer, |options| {
        options.rate = NonZeroU32::new(2).expect("is not nought");
    })
    .await;
    for _ in 0..2 {
        let answered = server.sign_in().await;
        assert!(answered.starts_with("HTTP/1.1 303 "), "{answered}");
    }
    let refused = server.sign_in().await;
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
}

#[tokio::test]
async fn who_sends_a_form_slowly_holds_no_place_and_is_cut_off() {
    let server = Server::start(Role::Viewer, |options| {
        options.at_once = 1;
    })
    .await;
    let mut slow = Vec::new();
    for _ in 0..64 {
        slow.push(server.begin_to_sign_in("token=", 100).await);
    }
    // Until all of them have begun.
    let refused = timeout(SOON, async {
        loop {
            let answered = server.sign_in().await;
            if answered.starts_with("HTTP/1.1 503 ") {
                return answered;
            }
            sleep(Duration::from_millis(100)).await;
        }
    });
    let refused = refused.await.expect("they begin");
    assert!(refused.contains("overloaded"), "{refused}");
    assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
    let answered = server.get("/v1/subscriptions", server.token.expose()).await;
    assert!(answered.starts_with("HTTP/1.1 200 OK"), "{answered}");
    for connection in &mut slow {
        let told = rest(connection).await.expect("it answers");
        assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
    }
    let answered = server.sign_in().await;
    assert!(answered.starts_with("HTTP/1.1 303 "), "{answered}");
}

#[tokio::test]
async fn it_ends_though_somebody_keeps_a_request_open() {
    let mut server = Server::start(Role::Publisher, |options| {
        options.grace = Duration::from_millis(100);
    })
    .await;
    let mut connection = server.call().await;
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 100\r\n\r\n{{",
        server.token.expose()
    );
    connection
        .write_all(head.as_bytes())
        .await
        .expect("it reads");
    assert!(server.get("/healthz", "").await.contains("200 OK"));
    server
        .end
        .take()
        .expect("once")
        .send(())
        .expect("it listens");
    let ended = timeout(SOON, &mut server.serving).await;
    ended.expect("it ends").expect("it does not panic");
}
