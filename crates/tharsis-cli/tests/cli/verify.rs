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
    insta::assert_snapshot!(verify(&format!("X-Mars-Signature: sha1={SIGNATURE}"), BODY), @"");
    insta::assert_snapshot!(verify(&format!("x-mars-signature:sha1={SIGNATURE} "), BODY), @"");
}

#[test]
fn what_is_wrong_is_said() {
    let header = format!("X-Mars-Signature: sha1={SIGNATURE}");
    insta::assert_snapshot!(verify("Content-Type: application/json", BODY), @"");
    insta::assert_snapshot!(verify(&format!("X-Mars-Signature: {SIGNATURE}"), BODY), @"");
    insta::assert_snapshot!(verify(&format!("X-Mars-Signature: sha1={}", &SIGNATURE[1..]), BODY), @"");
    insta::assert_snapshot!(verify(&header, &format!("{BODY}\n")), @"");
    insta::assert_snapshot!(verify(&header, &BODY.replace(':', ": ")), @"");
    insta::assert_snapshot!(verify(&header, &BODY.replace("30", "50")), @"");
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
    insta::assert_snapshot!(desk.exec(&arguments, BODY.as_bytes()).all(), @"");
    insta::assert_snapshot!(desk.exec(&arguments, b"{}").all(), @"");
    insta::assert_snapshot!(desk.run("--json verify --secret-file none --body -").all(), @"");
}
