//! What a page of another site can do with a browser that is signed in here: nothing.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use tharsis_tests::{ALPHA, Api, Subscribe, World};

use crate::{signed_in, token};

#[test]
fn a_form_of_another_site_changes_nothing() {
    let world = World::new();
    let shop = world.receiver("shop").start();
    let id = world.subscribe(&Subscribe::new(ALPHA, &shop)).id;
    let admin = token(&world, "admin", Some(ALPHA));
    let api = Api::start(&world, &["--no-worker"]);
    let chromium = signed_in(&world, &api, &admin);
    let subscriptions = || api.get(&admin, "/v1/subscriptions").ok();
    let before = subscriptions();

    let path = format!("/subscriptions/{id}");
    for form in ["pause", "remove"] {
        let port = foreign_site(&format!("{}{path}/{form}", api.url()));
        // Another port of the same host, to which the cookie comes along, and another host, to which it does not.
        for host in ["127.0.0.1", "localhost"] {
            chromium.visit(&format!("http://{host}:{port}/"));
            chromium.press("Win");
            chromium.says("the form was not sent by a page of this site");
            assert_eq!(subscriptions(), before, "{form} of {host}");
        }
    }
    chromium.judge("refused");

    // The browser was signed in all the while.
    chromium.open(&path);
    chromium.press("Pause");
    chromium.says("It is paused");
    assert_ne!(subscriptions(), before);
}

/// A site on this machine whose only page posts a form to that URL, and the port that it is on.
fn foreign_site(to: &str) -> u16 {
    let form = format!("<form method=\"post\" action=\"{to}\"><button>Win</button></form>");
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        while let Ok((visitor, _)) = listener.accept() {
            // A browser opens connections that it asks nothing on.
            let form = form.clone();
            thread::spawn(move || answer(visitor, &form));
        }
    });
    port
}

/// Whatever is asked, this is the page.
fn answer(mut visitor: TcpStream, page: &str) {
    let asked = visitor.read(&mut [0; 16 * 1024]);
    if asked.is_ok_and(|length| length > 0) {
        let length = page.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        // Whoever hangs up has seen enough.
        let _ = visitor.write_all(format!("{head}{page}").as_bytes());
    }
}
