//! Arbitrary bytes for every reader: `make fuzz SECONDS=600` looks for more.

#[path = "../../../fuzz/harness.rs"]
mod harness;
#[path = "../../../fuzz/targets.rs"]
mod targets;

use harness::run;
use tharsis_core::payload::CATALOGUE;

#[test]
fn fuzz_url() {
    run(
        "url",
        &[
            b"https://hooks.example.com/in?token=42",
            b"https://HOOKS.Example.com:8443/a/../b/%2e%2e/c;p?q='x'&y=[1]",
            b"https://a-1.xn--p1ai/",
            b"http://user:pass@169.254.169.254:80/#f",
            b"https://[2606:4700::1]:443/",
        ],
        targets::url,
    );
}

#[test]
fn fuzz_json() {
    run(
        "json",
        &[JSON, b"[[[[]]],{\"10\":1,\"9\":{}}]"],
        targets::json,
    );
}

const JSON: &[u8] =
    br#"{"b":[1,-2.5e-3,1e21,true,false,null],"a":"\u00e9\ud83d\udc3c\n","4294967294":{"":{}}} "#;

#[test]
fn fuzz_event() {
    let bare = CATALOGUE.iter().map(|documented| documented.published());
    let samples: Vec<Vec<u8>> = bare
        .chain([br#"{"type":"order","client":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","payload":{"a":0.950},"key":"k-1","campaign":"c","recipient":"r","expires_at":"2036-01-01T00:00:00Z","not_before":"2026-01-01T00:00:00+02:00"}"#.to_vec()])
        .collect();
    let samples: Vec<&[u8]> = samples.iter().map(Vec::as_slice).collect();
    run("event", &samples, targets::event);
}

#[test]
fn fuzz_retry() {
    run(
        "retry",
        &[
            b"120",
            b"Sun, 06 Nov 1994 08:49:37 GMT",
            b"Sunday, 06-Nov-94 08:49:37 GMT",
            b"Sun Nov  6 08:49:37 1994",
        ],
        targets::retry,
    );
}

#[test]
fn fuzz_filter() {
    run(
        "filter",
        &[
            br#"event.predictions.exists(p, p.discount > 20) && !has(event.coupon)"#,
            br#"(event["odd name"] in ["sms", r"a\b"] ? size(event.a) : 0x1f) >= -0.5e3 + 2 * 3"#,
            br#"event.predictions.map(p, p.name).filter(n, n.startsWith('T')).all(n, n.contains("a"))"#,
            b"event.deep.a.b[0].exists_one(x, x == 1) || event.t\n{\"deep\":{\"a\":{\"b\":[[1,2]]}},\"t\":false}",
        ],
        targets::filter,
    );
}

#[test]
fn fuzz_header() {
    run(
        "header",
        &[
            b"X-Shop-Token:opensesame 42",
            b"user:password",
            b"Host:shop.example",
            b"x:abc+/=",
        ],
        targets::header,
    );
}

#[test]
fn fuzz_signature() {
    run(
        "signature",
        &[
            b"sha1=f62f54d3ec7da5bb8c609e1da3024c0a839cf076\n{\"type\":\"nudge\",\"score\":0.5}",
            b"t=1700000000,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd\n{}",
            b"v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4= v1a,AAAA",
            b"1700000000",
        ],
        targets::signature,
    );
}

#[test]
fn fuzz_profile() {
    run(
        "profile",
        &[
            b"acme\n\n\n\nX-Acme-Signature\ntimestamp.body\nhmac-sha512\ntext\nv1=\nbase64\nt=\n,\nX-Id={id}\nhead\n2xx\n10s\n5\n4096\norder",
            b"form\n\nform\ndata\n\n\n\n\n\n\n\n\n\ntest-event\n200\n3s\n0\n1024\na.b\n100\n1s",
            b"std\napplication/json\nenveloped\n\nwebhook-signature\nid.timestamp.body\nhmac-sha256\nstandard\nv1,\nbase64\n\n \nwebhook-id={id}",
        ],
        targets::profile,
    );
}

#[test]
fn fuzz_secret() {
    run(
        "secret",
        &[
            b"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b\n",
            b"whsec_HQVpwMPJsBxjIF/kRr1ZRP+EbA3wUicPvAXAIGVNNAM=",
            b"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\n",
            b"tharsis_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        ],
        targets::secret,
    );
}

#[test]
fn fuzz_word() {
    run(
        "word",
        &[
            b"5s,1m,10m",
            b"8x5s..1h",
            b"1d2h3m4s5ms",
            b"2026-01-31T12:30:00.000+00:00",
            b"b4aeba4e-a4c0-4896-866a-56f8bcb372fc/36011017-0e00-4e29-a054-7a1fbb8b60a2",
            b"300/m",
            b"ops@shop.example",
            b"reward.earned",
            b"fd00::/8",
            b"key:order.id",
            b"Caf\xc3\xa9 \xce\xa3\xce\x91\xce\xa3",
        ],
        targets::word,
    );
}
