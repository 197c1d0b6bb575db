use crate::Desk;

const SECRET: &str = "de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9";
const BODY: &str = r#"{"type":"webhook.test","discount":30}"#;
/// HMAC-SHA1 of the body, made with `openssl dgst -sha1 -hmac`.
const SIGNATURE: &str = "446eee44297b81a9a7f54e7e888f93856bfaee62";

fn verify(header: &str, body: &str) -> String {
    let desk = Desk::new();
    // As an editor leaves it: the line end is no part of the secret.
    desk.write("secret", format!("{SECRET}\n"));
    desk.write("body.json", body);
    let arguments = [
        "verify",
        "--secret-file",
        "secret",
        "--body",
        "body.json",
        "--header",
        header,
    ];
    desk.exec(&arguments, b"").all()
}

#[test]
fn what_was_signed_is_ok() {
    insta::assert_snapshot!(verify(&format!("X-Mars-Signature: sha1={SIGNATURE}"), BODY), @"
    exit 0
    --- stdout
    ok
    ");
    insta::assert_snapshot!(verify(&format!("x-mars-signature:sha1={SIGNATURE} "), BODY), @"
    exit 0
    --- stdout
    ok
    ");
}

#[test]
fn what_is_wrong_is_said() {
    let header = format!("X-Mars-Signature: sha1={SIGNATURE}");
    insta::assert_snapshot!(verify("Content-Type: application/json", BODY), @r"
    exit 1
    --- stderr
    error[signature_missing]: there is no header x-mars-signature
      hint: give it with --header 'x-mars-signature: …'
    ");
    insta::assert_snapshot!(verify(&format!("X-Mars-Signature: {SIGNATURE}"), BODY), @"
    exit 1
    --- stderr
    error[signature_prefix]: the signature does not begin with sha1=
    ");
    insta::assert_snapshot!(verify(&format!("X-Mars-Signature: sha1={}", &SIGNATURE[1..]), BODY), @"
    exit 1
    --- stderr
    error[signature_length]: the signature has 39 characters after its prefix, not 40
    ");
    insta::assert_snapshot!(verify(&header, &format!("{BODY}\n")), @"
    exit 1
    --- stderr
    error[signature_mismatch]: a line break was added to the body after it was signed
      hint: take the body's bytes as they came, without adding a line break
    ");
    insta::assert_snapshot!(verify(&header, &BODY.replace(':', ": ")), @"
    exit 1
    --- stderr
    error[signature_mismatch]: the body was parsed and written again after it was signed
      hint: verify the body's bytes as they came, before any parser reads them
    ");
    insta::assert_snapshot!(verify(&header, &BODY.replace("30", "50")), @"
    exit 1
    --- stderr
    error[signature_mismatch]: the signature is of another body or another secret
      hint: compare the secret with the one of the subscription
    ");
}

#[test]
fn programs_get_json() {
    let desk = Desk::new();
    desk.write("secret", SECRET);
    let header = format!("X-Mars-Signature: sha1={SIGNATURE}");
    let arguments = [
        "--json",
        "verify",
        "--secret-file",
        "secret",
        "--body",
        "-",
        "--header",
        &header,
    ];
    insta::assert_snapshot!(desk.exec(&arguments, BODY.as_bytes()).all(), @r#"
    exit 0
    --- stdout
    {"verified":true}
    "#);
    insta::assert_snapshot!(desk.exec(&arguments, b"{}").all(), @r#"
    exit 1
    --- stdout
    {"error":{"code":"signature_mismatch","field":null,"message":"the signature is of another body or another secret","hint":"compare the secret with the one of the subscription"}}
    "#);
    insta::assert_snapshot!(desk.run("--json verify --secret-file none --body -").all(), @r#"
    exit 1
    --- stdout
    {"error":{"code":"secret_unreadable","field":"none","message":"cannot be read: No such file or directory (os error 2)","hint":null}}
    "#);
}
