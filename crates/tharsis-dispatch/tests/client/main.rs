//! The client and the registration check against real receivers on loopback, well-behaved and hostile.

mod check;
mod faults;
mod guard;

use std::{io::Write, time::Duration};

use bytes::Bytes;
use tempfile::NamedTempFile;
use tharsis_core::{
    egress::{PayloadUrl, Policy},
    signer::{Header, Method, Request},
};
use tharsis_dispatch::{Client, ClientError, ClientOptions};
use tharsis_receiver::Authority;

/// Long enough for a loaded machine, where a test expects an answer.
const PATIENT: Duration = Duration::from_secs(10);

/// Short, where a test expects that none comes.
const BRIEF: Duration = Duration::from_millis(300);

/// Loopback and `localhost`, opened by name.
fn loopback() -> Policy {
    Policy {
        allow_addresses: vec!["127.0.0.0/8".parse().unwrap()],
        allow_hosts: vec!["localhost".to_owned()],
        ..Policy::default()
    }
}

/// A client that trusts this authority beside the system's.
fn client(authority: &Authority, egress: Policy) -> Client {
    client_with(authority, |options| options.egress = egress).unwrap()
}

/// The same on loopback, with other options.
fn client_with(
    authority: &Authority,
    other: impl FnOnce(&mut ClientOptions),
) -> Result<Client, ClientError> {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(authority.pem().as_bytes()).unwrap();
    let mut options = ClientOptions {
        egress: loopback(),
        ca_file: Some(file.path().to_owned()),
        ..ClientOptions::default()
    };
    other(&mut options);
    Client::new(&options)
}

/// The port was chosen by the receiver, so the policy's ports are not asked.
fn url(text: &str) -> PayloadUrl {
    PayloadUrl::stored(text).unwrap()
}

fn post(text: &str, deadline: Duration) -> Request {
    Request {
        method: Method::Post,
        url: url(text),
        headers: vec![
            Header::new("content-type", "application/json"),
            Header::new("x-mars-signature", "sha1=00".to_owned()),
        ],
        body: Bytes::from_static(br#"{"type":"nudge"}"#),
        deadline,
    }
}
