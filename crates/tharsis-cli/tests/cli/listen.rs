use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use crate::{Desk, command};

/// A `listen` that ends with the test.
struct Listening(Child);

impl Drop for Listening {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_says_how_to_register_it_and_prints_each_request() {
    let desk = Desk::new();
    desk.write("secret", "de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9\n");
    let mut listening = Listening(
        command(desk.0.path())
            .args([
                "listen",
                "--port",
                "0",
                "--secret-file",
                "secret",
                "--fail-first",
                "1",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut told = BufReader::new(listening.0.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let introduction: Vec<_> = told.by_ref().take(5).collect();
    let url = introduction[0].strip_prefix("Listening on ").unwrap();
    let port = url.trim_end_matches('/').rsplit(':').next().unwrap();
    insta::assert_snapshot!(introduction.join("\n").replace(port, "PORT"), @"
    Listening on https://localhost:PORT/
    Certificate authority: ca.pem
    Register it, and deliver to it, with:
      tharsis subscription add --client 36011017-0e00-4e29-a054-7a1fbb8b60a2 --name listen --url https://localhost:PORT/ --secret-file secret --egress-allow-host localhost --egress-allow-address 127.0.0.0/8 --egress-allow-port PORT --egress-ca-file ca.pem
      tharsis run --egress-allow-host localhost --egress-allow-address 127.0.0.0/8 --egress-allow-port PORT --egress-ca-file ca.pem
    ");

    // The lines work as they are told.
    let add: Vec<_> = introduction[3].split_whitespace().skip(1).collect();
    let added = desk.exec(&add, b"");
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    let id = added.stdout.split_whitespace().nth(1).unwrap();
    let egress = introduction[4].split_once("run ").unwrap().1;
    assert_eq!(
        desk.run(&format!("subscription test {id} {egress}")).code,
        Some(1)
    );
    assert_eq!(
        desk.run(&format!("subscription test {id} {egress}")).code,
        Some(0)
    );

    let mut requests = BufReader::new(listening.0.stdout.take().unwrap()).lines();
    let mut next = || -> serde_json::Value {
        serde_json::from_str(&requests.next().unwrap().unwrap()).unwrap()
    };
    let (head, failed, taken) = (next(), next(), next());
    assert_eq!(
        (&head["method"], &head["verified"]),
        (&"HEAD".into(), &serde_json::Value::Null)
    );
    assert_eq!(
        (&failed["method"], &failed["verified"]),
        (&"POST".into(), &true.into())
    );
    let body: serde_json::Value = serde_json::from_str(taken["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["type"], "webhook.test");
    let keys: Vec<_> = taken
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    insta::assert_snapshot!(keys.join(" "), @"at body data headers method path reason verified");
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = Desk::new().run(&format!("listen --port {port}")).all();
    insta::assert_snapshot!(said.replace(&port, "PORT"), @"
    exit 1
    --- stderr
    error[receiver_failed]: cannot listen on 127.0.0.1 port PORT: Address already in use (os error 98)
    ");
}
