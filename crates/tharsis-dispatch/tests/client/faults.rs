//! Rows of `tests/corpus/receiver_faults.tsv`: a server does what the row says, the outcome must have the row's code.

use std::{collections::BTreeMap, time::Duration};

use tharsis_core::delivery::{Fault as Whose, Outcome};
use tharsis_receiver::{Authority, Fault, FaultServer, Flaw, Options, Receiver, Then, closed_port};
use tokio::task::JoinSet;

use crate::{BRIEF, PATIENT, client, loopback, post};

const CORPUS: &str = include_str!("../../../../tests/corpus/receiver_faults.tsv");

struct Row {
    id: &'static str,
    behaviour: &'static str,
    simulate: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

fn rows(group: &str) -> Vec<Row> {
    (CORPUS.lines().skip(1))
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(|row| row[1] == group)
        .map(|row| Row {
            id: row[0],
            behaviour: row[2],
            simulate: row[3],
            outcome: row[4],
            reason: row[5],
        })
        .collect()
}

impl Row {
    /// `None` when the outcome is what the row says. Where a row leaves a choice, it names all codes.
    fn objection(&self, outcome: &Outcome) -> Option<String> {
        let named = (self
            .reason
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .any(|word| word == outcome.code);
        let delivered = self.outcome == "delivered" && outcome.fault == Whose::None;
        let failed = self.outcome != "delivered" && outcome.fault == Whose::Theirs;
        let either = self.reason.contains(" or ") || self.reason.contains(" else ");
        (!named || !(delivered || failed || either)).then(|| {
            format!(
                "{} ({}): expected {} {}, got {outcome:?}",
                self.id, self.behaviour, self.outcome, self.reason
            )
        })
    }
}

/// Answers every request with these bytes, then closes.
fn answer(bytes: impl Into<Vec<u8>>) -> Fault {
    Fault::Answer(bytes.into(), Then::Close)
}

/// All at once, each with a server of its own.
async fn outcomes(authority: &Authority, scenes: Vec<(Row, Fault)>) -> Vec<(Row, Outcome)> {
    let client = client(authority, loopback());
    let mut running = JoinSet::new();
    for (row, fault) in scenes {
        let (client, authority) = (client.clone(), authority.clone());
        running.spawn(async move {
            let deadline = if row.reason.starts_with("timeout_") {
                BRIEF
            } else {
                PATIENT
            };
            let server = FaultServer::bind(&authority, fault).await.unwrap();
            let outcome = client.send(post(&server.url("/"), deadline)).await;
            (row, outcome)
        });
    }
    running.join_all().await
}

/// Tells how many rows ran and how many passed; all must.
#[expect(
    clippy::print_stdout,
    reason = "it is what a person wants to see of such a test"
)]
fn agree(what: &str, judged: &[(Row, Outcome)]) {
    let objections: Vec<_> = (judged.iter())
        .filter_map(|(row, outcome)| row.objection(outcome))
        .collect();
    let (ran, passed) = (judged.len(), judged.len() - objections.len());
    println!("receiver_faults.tsv, {what}: {ran} rows ran, {passed} passed");
    assert!(objections.is_empty(), "{}", objections.join("\n"));
}

/// Rows that other tests run, and where.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "F101 F102 F103 F106 F107 F108 F111 F113 F114",
        "src/client/resolver/tests.rs",
    ),
    ("F115 F131 F169", "below, in tests of their own"),
    (
        "F207 F238 F239 F242 F245 F246 F247 F248 F249 F251",
        "check.rs",
    ),
    ("F105", "guard.rs: a timeout names what was waited for"),
    ("F125", "guard.rs: running out of descriptors"),
    (
        "F215",
        "the lanes of the engine, and tests/tests/isolation.rs",
    ),
    ("F233 F234", "the clocks of the simulation's days"),
    (
        "F235",
        "the signer takes the instant of the attempt: tests/tests/senders.rs",
    ),
];

/// Rows that nobody runs, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("F109", "whether there is a route to IPv6 is the machine's"),
    (
        "F110",
        "a name has its addresses from the resolver, which knows no test's names on loopback",
    ),
    (
        "F119",
        "loopback takes more than the largest body before a writer has to wait",
    ),
    (
        "F124",
        "it takes all ports of the machine, which other tests need",
    ),
    (
        "F145 F150",
        "rustls, which these servers are made with, does neither",
    ),
    (
        "F151 F154",
        "the connection is kept for the next request, whatever the server does in between",
    ),
    ("F212 F213 F214", "the pool is reqwest's, by host and port"),
    (
        "F216 F217 F218 F220 F222 F223 F224 F225 F226 F227 F228 F229 F230 F231 F232",
        "HTTP/1.1 alone is spoken",
    ),
    ("F253", "there is no HTTP API that scans could go through"),
];

#[test]
fn every_row_is_run_by_somebody() {
    let named = |list: &[(&'static str, &str)]| -> Vec<&str> {
        (list.iter()).flat_map(|(ids, _)| ids.split(' ')).collect()
    };
    let of_groups = ["status", "retry_after"].into_iter().flat_map(rows);
    let mut run: Vec<&str> = of_groups.map(|row| row.id).collect();
    run.extend(FLAWS.map(|(id, _)| id));
    run.extend(named(ELSEWHERE));
    run.extend(named(NOT_RUN));
    let ids = || {
        CORPUS
            .lines()
            .skip(1)
            .filter_map(|line| line.split('\t').next())
    };
    run.extend(ids().filter(|id| scene(id).is_some()));
    run.sort_unstable();
    assert_eq!(run, ids().collect::<Vec<_>>(), "each row, once");
}

#[tokio::test]
async fn every_status_has_its_code() {
    let authority = Authority::generate().unwrap();
    let mut scenes = Vec::new();
    for row in rows("status") {
        let head = if let Some(line) = row.simulate.strip_prefix("HTTP/1.1 ") {
            format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n")
        } else {
            let words: Vec<_> = row.simulate.split([' ', '+']).collect();
            let status = (words.iter())
                .find(|word| word.len() == 3 && word.parse::<u16>().is_ok())
                .copied();
            let status = match (row.id, status) {
                ("F011", _) => "200",
                ("F022" | "F023", _) => "301",
                (_, Some(status)) => status,
                (id, None) => panic!("{id} names no status"),
            };
            let location = match row.id {
                "F023" => "location: javascript:alert(1)\r\n",
                _ if row.simulate.contains("Location") => "location: https://169.254.169.254/\r\n",
                _ => "",
            };
            format!("HTTP/1.1 {status} X\r\n{location}content-length: 0\r\n\r\n")
        };
        scenes.push((row, answer(head)));
    }
    assert!(scenes.len() > 50);
    agree("status", &outcomes(&authority, scenes).await);
}

#[tokio::test]
async fn retry_after_is_handed_on_as_it_came_and_never_parsed_here() {
    let authority = Authority::generate().unwrap();
    let mut scenes = Vec::new();
    let mut expected = BTreeMap::new();
    for row in rows("retry_after") {
        if row.id == "F068" {
            let head = "HTTP/1.1 429 X\r\nretry-after: 10\r\nretry-after: 9999999\r\ncontent-length: 0\r\n\r\n";
            expected.insert(row.id, None);
            scenes.push((row, answer(head)));
            continue;
        }
        let (status, field) = row.behaviour.split_once(" with Retry-After:").unwrap();
        let field = match field.trim() {
            r"\x80\xff" => b"\x80\xff".to_vec(),
            text => text.as_bytes().to_vec(),
        };
        let head = [
            format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nretry-after: ").as_bytes(),
            &field,
            b"\r\n\r\n",
        ]
        .concat();
        expected.insert(row.id, Some(field.into_boxed_slice()));
        scenes.push((row, answer(head)));
    }
    let judged = outcomes(&authority, scenes).await;
    for (row, outcome) in &judged {
        assert_eq!(outcome.retry_after, expected[row.id], "{}", row.id);
    }
    agree("retry_after", &judged);
}

#[tokio::test]
async fn a_long_retry_after_is_cut() {
    let authority = Authority::generate().unwrap();
    let head = format!(
        "HTTP/1.1 503 X\r\nretry-after: {}\r\ncontent-length: 0\r\n\r\n",
        "9".repeat(1000)
    );
    let server = FaultServer::bind(&authority, answer(head)).await.unwrap();
    let outcome = client(&authority, loopback())
        .send(post(&server.url("/"), PATIENT))
        .await;
    assert_eq!(outcome.retry_after.as_deref(), Some([b'9'; 64].as_slice()));
}

/// What a row of the corpus that is about bytes on the wire is played by.
fn scene(id: &str) -> Option<Fault> {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let alert = |description| Fault::Plain(vec![0x15, 3, 3, 0, 2, 2, description]);
    let flood = |head: &str, chunk: &str| Fault::Flood {
        head: head.into(),
        chunk: chunk.repeat(1 + 4096 / chunk.len()).into(),
    };
    let drip = |head: &str, bytes: &str| Fault::Drip {
        head: head.into(),
        bytes: bytes.into(),
        every: Duration::from_millis(2),
    };
    let ok = |fields: &str, body: &str| answer(format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}"));
    Some(match id {
        "F097" => answer(
            "HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        ),
        "F098" => Fault::Answer(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n\0\x01"
                .into(),
            Then::Hang,
        ),
        "F099" => drip("", "HTTP/1.1 102 Processing\r\n\r\n"),

        "F117" => Fault::ResetOnAccept,
        "F121" => Fault::CloseOnAccept,

        "F140" => alert(70),
        // OpenSSL answers a client it shares no suite with by handshake_failure, as in F144; only the alert that RFC
        // 8446 has for it, insufficient_security, can be told apart.
        "F141" => alert(71),
        "F143" => alert(112),
        "F144" => alert(40),
        "F146" => Fault::Plain("HTTP/1.1 400 Bad Request\r\n\r\n".into()),
        "F148" => Fault::SilentHandshake,
        "F152" => Fault::Answer(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into(),
            Then::Cut,
        ),
        "F153" => Fault::Answer(
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok".into(),
            Then::Cut,
        ),

        "F158" => Fault::ResetWhileReading,
        "F161" => Fault::AnswerUnread(
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into(),
            Then::Hang,
        ),
        "F162" => Fault::AnswerUnread(
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into(),
            Then::Reset,
        ),
        "F163" => Fault::Answer(Vec::new(), Then::Reset),
        "F164" | "F172" => Fault::Answer(Vec::new(), Then::Close),
        "F165" => Fault::Answer(Vec::new(), Then::Hang),
        "F166" => Fault::Answer(Vec::new(), Then::HalfClose),

        "F167" => drip("HTTP/1.1 200 OK\r\n", "x: yyyyyyyyyyyyyy\r\n"),
        "F168" => Fault::Answer("HTTP/1.1 200 OK\r\n".into(), Then::Hang),
        "F171" => flood("HTTP/1.1 200 OK\r\nx: ", "a"),
        "F174" => answer("HTTP/1.0 200 OK\r\n\r\n"),
        "F175" => answer("HTTP/2.0 200 OK\r\n\r\n"),
        "F176" => answer("HTTP/1.1 200 OK\ncontent-length: 0\n\n"),
        "F177" => ok("x: a\0b\r\n", ""),
        "F179" => ok("x: a\r\n b\r\n", ""),
        "F181" => ok("x: \u{fc}\r\ncontent-length: 0\r\n", ""),
        "F186" => ok("content-length: 2\r\ncontent-length: 3\r\n", "okk"),
        "F187" => ok(
            "content-length: 2\r\ntransfer-encoding: chunked\r\n",
            "2\r\nok\r\n0\r\n\r\n",
        ),
        "F189" => ok("connection: close\r\ncontent-length: 2\r\n", "ok"),
        "F190" => answer(
            "HTTP/1.1 407 X\r\nproxy-authenticate: Basic realm=x\r\ncontent-length: 0\r\n\r\n",
        ),

        "F191" => flood(chunked, "8\r\nabcdefgh\r\n"),
        "F194" => flood(
            "HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n",
            "8\r\nabcdefgh\r\n",
        ),
        "F195" => flood("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n", "x"),
        "F196" => flood(
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 10240\r\n\r\n\x1f",
            "\0",
        ),
        "F197" => ok(
            "content-encoding: gzip\r\ncontent-length: 4\r\n",
            "\x1f\x0b\x08\0",
        ),
        "F198" => ok("content-encoding: zstd\r\ncontent-length: 2\r\n", "ok"),
        "F199" => ok("content-length: 100\r\n", "short"),
        "F200" => answer(format!("{chunked}ffffffffffffffff\r\nok")),
        "F201" => flood(&format!("{chunked}1;"), "a"),
        "F202" => flood(&format!("{chunked}0\r\n"), "x: y\r\n"),
        "F204" => ok("content-length: 30\r\n", "\x1b[2J<script>alert(1)</script>"),
        "F206" => answer("HTTP/1.1 204 No Content\r\n\r\nuninvited"),
        _ => return None,
    })
}

#[tokio::test]
async fn every_way_to_break_the_rules_has_its_code() {
    let authority = Authority::generate().unwrap();
    let scenes: Vec<_> = [
        "informational",
        "tcp",
        "tls",
        "request",
        "response_head",
        "response_body",
    ]
    .into_iter()
    .flat_map(rows)
    .filter_map(|row| scene(row.id).map(|fault| (row, fault)))
    .collect();
    assert_eq!(scenes.len(), 46);
    agree("on the wire", &outcomes(&authority, scenes).await);
}

/// F169: hyper reports too many headers and too long ones by one error, so both have one code.
#[tokio::test]
async fn too_many_headers_are_a_head_that_is_too_large() {
    let authority = Authority::generate().unwrap();
    let head = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101));
    let server = FaultServer::bind(&authority, answer(head)).await.unwrap();
    let outcome = client(&authority, loopback())
        .send(post(&server.url("/"), PATIENT))
        .await;
    assert_eq!(
        (&*outcome.code, outcome.fault),
        ("http_head_too_large", Whose::Theirs)
    );
}

const FLAWS: [(&str, Flaw); 10] = [
    ("F126", Flaw::Expired),
    ("F127", Flaw::NotYetValid),
    ("F128", Flaw::SelfSigned),
    ("F129", Flaw::WrongName),
    ("F132", Flaw::UnknownIssuer),
    ("F133", Flaw::UnknownIssuer),
    ("F135", Flaw::IsAuthority),
    ("F136", Flaw::ClientAuthOnly),
    ("F155", Flaw::AddressOnly),
    ("F156", Flaw::WrongName),
];

#[tokio::test]
async fn every_flaw_of_a_certificate_has_its_code_and_no_request_leaves() {
    let authority = Authority::generate().unwrap();
    let client = client(&authority, loopback());
    let mut rows = rows("tls");
    let mut judged = Vec::new();
    for (id, flaw) in FLAWS {
        let receiver = Receiver::bind(Options {
            flaw: Some(flaw),
            ..Options::new(&authority)
        })
        .await
        .unwrap();
        let outcome = client.send(post(&receiver.url("/"), PATIENT)).await;
        let row = rows.swap_remove(rows.iter().position(|row| row.id == id).unwrap());
        assert_eq!((receiver.connections(), receiver.count()), (1, 0), "{id}");
        assert!(outcome.detail.is_some(), "{id}");
        judged.push((row, outcome));
    }
    agree("certificates", &judged);
}

/// F131: a wildcard stands for one label.
#[tokio::test]
async fn a_wildcard_reaches_one_label_deep() {
    let authority = Authority::generate().unwrap();
    let receiver = Receiver::bind(Options {
        names: vec!["*.hooks.localhost".to_owned()],
        ..Options::new(&authority)
    })
    .await
    .unwrap();
    let client = client(&authority, loopback());
    let port = receiver.addr().port();
    for (host, code) in [
        ("b.hooks.localhost", "http_200"),
        ("a.b.hooks.localhost", "tls_cert_name_mismatch"),
        ("hooks.localhost", "tls_cert_name_mismatch"),
    ] {
        let outcome = client
            .send(post(&format!("https://{host}:{port}/"), PATIENT))
            .await;
        assert_eq!(outcome.code, code, "{host}");
    }
}

/// F115.
#[tokio::test]
async fn nobody_listens() {
    let authority = Authority::generate().unwrap();
    let port = closed_port().unwrap().port();
    let outcome = client(&authority, loopback())
        .send(post(&format!("https://localhost:{port}/"), PATIENT))
        .await;
    assert_eq!(
        (&*outcome.code, outcome.fault),
        ("connect_refused", Whose::Theirs)
    );
    assert!(!outcome.detail.unwrap().contains("localhost"));
}
