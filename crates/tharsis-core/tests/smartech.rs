//! The activities of Smartech: what is built is what is documented, and both ways in are judged alike.

use tharsis_core::{
    ClientId, Invalid,
    event::Event,
    json::{self, Value},
    payload::{ChannelActivity, CustomActivity, channel_activity::webhook},
};

const CLIENT: &str = "b4aeba4e-a4c0-4896-866a-56f8bcb372fc";
const CHANNEL: &str = r#"{"webhook_name":"SMS_CLICK","event_params":{"foreignkey":"9999999997","linkid":-1},"custom_params":{"automationid":"169","link":"http://www.example.com","channel":"sms","leadscore":"s2"},"att_params":{"MBR_DOBIRTH":"23-12-88"}}"#;
const CUSTOM: &str = r#"{"channel":"custom_activity","custom_params":{},"att_params":{"CITY":"Thane&Kalyan","STATE":"Maharashtra11"},"msgid":"103","webhook_name":null,"payload_params":{"items":[{"prqt_s":1,"price_s":9990.91}]},"event_params":{"activity_source":"web","ts":181212120708,"activity_id":103,"foreignkey":"9999999997","identity":"a@example.com","asset_name":null,"asset_id":null,"guid":"4f0c"},"journey_name":"Bought once"}"#;

#[test]
fn a_built_activity_is_the_enveloped_one() {
    let channel = ChannelActivity::new(webhook::SMS_CLICK)
        .client_id(CLIENT)
        .foreign_key("9999999997")
        .link_id(-1.0)
        .custom_param("automationid", "169")
        .custom_param("link", "http://www.example.com")
        .custom_param("channel", "sms")
        .custom_param("leadscore", "s2")
        .attribute("MBR_DOBIRTH", "23-12-88")
        .event()
        .unwrap();
    assert_eq!(channel.payload(), CHANNEL);
    assert_eq!(channel, publish("channel_activity", CHANNEL).unwrap());
    assert_eq!(channel.client(), CLIENT.parse::<ClientId>().unwrap());

    let custom = custom().event().unwrap();
    assert_eq!(custom.payload(), CUSTOM);
    assert_eq!(custom, publish("custom_activity", CUSTOM).unwrap());
}

#[test]
fn what_may_be_absent_may_be_absent() {
    let bare = ChannelActivity::new("WHATSAPP_READ").client_id(CLIENT);
    insta::assert_snapshot!(text(&bare.event().unwrap()), @r#"{"webhook_name":"WHATSAPP_READ","event_params":{},"custom_params":{},"att_params":{}}"#);
    let bare = CustomActivity::new().client_id(CLIENT);
    insta::assert_snapshot!(text(&bare.event().unwrap()), @r#"{"channel":"custom_activity","custom_params":{},"att_params":{},"webhook_name":null,"payload_params":{},"event_params":{"asset_name":null,"asset_id":null}}"#);
}

#[test]
fn what_belongs_to_the_subscription_is_null_a_string_or_absent() {
    for (from, to) in [
        (r#""webhook_name":null"#, r#""webhook_name":"Win back""#),
        (r#""webhook_name":null,"#, ""),
        (r#""asset_name":null"#, r#""asset_name":"Win back""#),
        (r#""asset_name":null,"asset_id":null,"#, ""),
        (r#""asset_id":null"#, r#""asset_id":"17""#),
    ] {
        let activity = changed(CUSTOM, from, to);
        let event = publish("custom_activity", &activity).unwrap();
        assert_eq!(text(&event), activity);
    }
    for (from, to) in [
        (r#""webhook_name":null"#, r#""webhook_name":7"#),
        (r#""asset_name":null"#, r#""asset_name":{}"#),
        (r#""asset_id":null"#, r#""asset_id":17"#),
    ] {
        let refused = publish("custom_activity", &changed(CUSTOM, from, to)).unwrap_err();
        assert_eq!(refused.code, "wrong_type", "{to}: {refused}");
    }
}

/// The name of the webhook stands on the wire of a channel's activity: there it is the event's own.
#[test]
fn a_channel_activity_names_its_webhook() {
    for to in ["null", r#""""#, "7"] {
        let activity = changed(CHANNEL, r#""SMS_CLICK""#, to);
        let refused = publish("channel_activity", &activity).unwrap_err();
        assert_eq!(refused.field.as_deref(), Some("payload.webhook_name"));
    }
}

#[test]
fn open_strings_take_what_no_document_names() {
    for (from, to) in [
        ("SMS_CLICK", "Email_CLICK"),
        ("SMS_CLICK", "APN_DISMISS"),
        (r#""channel":"sms""#, r#""channel":"APN""#),
        (r#""channel":"sms""#, r#""channel":"rcs""#),
        (r#""linkid":-1"#, r#""linkid":null,"position":[1]"#),
        (r#""MBR_DOBIRTH":"23-12-88""#, r#""AGE":30,"x":{"y":[]}"#),
    ] {
        let activity = changed(CHANNEL, from, to);
        assert_eq!(
            text(&publish("channel_activity", &activity).unwrap()),
            activity
        );
    }
}

#[test]
fn campaign_and_recipient_are_read_from_an_activity() {
    let of = |event_type: &str, sample: &str, from: &str, to: &str| {
        let event = publish(event_type, &changed(sample, from, to)).unwrap();
        let or_none = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let (campaign, recipient) = (or_none(event.campaign()), or_none(event.recipient()));
        format!("{to} => {campaign} | {recipient}\n")
    };
    let long = format!(r#""foreignkey":"{}""#, "9".repeat(256));
    let told = [
        of("channel_activity", CHANNEL, "", ""),
        of("channel_activity", CHANNEL, r#""169""#, "169"),
        of("channel_activity", CHANNEL, r#""169""#, "1.690e23"),
        of("channel_activity", CHANNEL, r#""169""#, "null"),
        of("channel_activity", CHANNEL, r#""169""#, r#""""#),
        of("channel_activity", CHANNEL, r#""169""#, r#""a\u0000b""#),
        of("channel_activity", CHANNEL, r#""9999999997""#, "9999999997"),
        of("channel_activity", CHANNEL, r#""9999999997""#, "true"),
        of(
            "channel_activity",
            CHANNEL,
            r#""foreignkey":"9999999997""#,
            r#""identity":"a@example.com""#,
        ),
        of("custom_activity", CUSTOM, "", ""),
        of(
            "custom_activity",
            CUSTOM,
            r#""custom_params":{}"#,
            r#""custom_params":{"automationid":169}"#,
        ),
        of(
            "custom_activity",
            CUSTOM,
            r#""Bought once""#,
            r#"{"name":"Bought once"}"#,
        ),
        of(
            "custom_activity",
            CUSTOM,
            r#""foreignkey":"9999999997","#,
            "",
        ),
        of(
            "custom_activity",
            CUSTOM,
            r#""foreignkey":"9999999997","identity":"a@example.com","#,
            "",
        ),
    ];
    insta::assert_snapshot!(told.concat(), @r#"
     => 169 | 9999999997
    169 => 169 | 9999999997
    1.690e23 => 1.69e+23 | 9999999997
    null => - | 9999999997
    "" => - | 9999999997
    "a\u0000b" => - | 9999999997
    9999999997 => 169 | 9999999997
    true => 169 | -
    "identity":"a@example.com" => 169 | a@example.com
     => Bought once | 9999999997
    "custom_params":{"automationid":169} => 169 | 9999999997
    {"name":"Bought once"} => - | 9999999997
     => Bought once | a@example.com
     => Bought once | -
    "#);
    let event = publish(
        "custom_activity",
        &changed(CUSTOM, r#""foreignkey":"9999999997""#, &long),
    )
    .unwrap();
    assert_eq!(event.recipient(), Some("a@example.com"));

    let overruled = format!(
        r#"{{"type":"custom_activity","client":"{CLIENT}","payload":{CUSTOM},"campaign":"spring","recipient":"7"}}"#
    );
    let event = Event::parse(overruled.as_bytes()).unwrap();
    assert_eq!(
        (event.campaign(), event.recipient()),
        (Some("spring"), Some("7"))
    );
}

#[test]
fn a_bad_activity_is_refused_by_the_name_of_its_field() {
    let channel = [
        (r#""webhook_name":"SMS_CLICK","#, ""),
        ("SMS_CLICK", r"SMS\u001b[31m"),
        (
            r#""event_params":{"foreignkey":"9999999997","linkid":-1},"#,
            "",
        ),
        (
            r#"{"foreignkey":"9999999997","linkid":-1}"#,
            r#"["foreignkey"]"#,
        ),
        (r#"{"MBR_DOBIRTH":"23-12-88"}"#, "null"),
        (r#""custom_params":{"#, r#""custom":{"#),
        (
            r#""MBR_DOBIRTH":"23-12-88""#,
            r#""MBR_DOBIRTH":"1","MBR_DOBIRTH":"2""#,
        ),
    ]
    .map(|(from, to)| refusal(to, publish("channel_activity", &changed(CHANNEL, from, to))));
    insta::assert_snapshot!(channel.concat(), @r#"
     => missing_field | payload.webhook_name: is missing
    SMS\u001b[31m => control_character | payload.webhook_name: holds a control character
     => missing_field | payload.event_params: is missing
    ["foreignkey"] => wrong_type | payload.event_params: is an array, not an object
    null => wrong_type | payload.att_params: is null, not an object
    "custom":{ => missing_field | payload.custom_params: is missing
    "MBR_DOBIRTH":"1","MBR_DOBIRTH":"2" => json_duplicate_key | payload.att_params.MBR_DOBIRTH: is there twice
    "#);

    let custom = [
        (r#""channel":"custom_activity","#, ""),
        (r#""msgid":"103""#, r#""msgid":103"#),
        (r#""payload_params":{"#, r#""params":{"#),
        (
            r#"{"items":[{"prqt_s":1,"price_s":9990.91}]}"#,
            r#"[{"prqt_s":1}]"#,
        ),
        (r#""ts":181212120708"#, r#""ts":"181212120708""#),
        (r#""activity_id":103"#, r#""activity_id":null"#),
        (r#""activity_source":"web""#, r#""activity_source":1"#),
        (r#""event_params":{"#, r#""event":{"#),
    ]
    .map(|(from, to)| refusal(to, publish("custom_activity", &changed(CUSTOM, from, to))));
    insta::assert_snapshot!(custom.concat(), @r#"
     => missing_field | payload.channel: is missing
    "msgid":103 => wrong_type | payload.msgid: is a number, not a string
    "params":{ => missing_field | payload.payload_params: is missing
    [{"prqt_s":1}] => wrong_type | payload.payload_params: is an array, not an object
    "ts":"181212120708" => wrong_type | payload.event_params.ts: is a string, not a number
    "activity_id":null => wrong_type | payload.event_params.activity_id: is null (leave the field out)
    "activity_source":1 => wrong_type | payload.event_params.activity_source: is a number, not a string
    "event":{ => missing_field | payload.event_params: is missing
    "#);
}

#[test]
fn a_builder_is_judged_like_text() {
    let click = || ChannelActivity::new(webhook::BPN_CLICK).client_id(CLIENT);
    let nested = || Value::from(vec![Value::from(1.0), Value::from(f64::NAN)]);
    let refused = [
        ChannelActivity::new(webhook::BPN_CLICK).event(),
        click().client_id("acme").event(),
        ChannelActivity::new(" ").client_id(CLIENT).event(),
        click()
            .attribute("CITY", "a")
            .attribute("CITY", "b")
            .event(),
        click()
            .foreign_key("1")
            .event_param("foreignkey", 2.0)
            .event(),
        click().link_id(f64::NAN).event(),
        click().custom_param("scores", nested()).event(),
        CustomActivity::new().event(),
        custom().payload_param("items", "again").event(),
        custom().payload_param("more", nested()).event(),
        custom().ts(f64::INFINITY).event(),
        custom().guid("a\nb").event(),
    ]
    .map(|refused| refusal("built", refused));
    insta::assert_snapshot!(refused.concat(), @"
    built => missing_field | client: is missing
    built => bad_uuid | client: is not a UUID (write it like 36011017-0e00-4e29-a054-7a1fbb8b60a2)
    built => empty | webhook_name: is empty
    built => json_duplicate_key | att_params.CITY: is there twice
    built => json_duplicate_key | event_params.foreignkey: is there twice
    built => number_out_of_range | event_params.linkid: is not a finite number
    built => number_out_of_range | custom_params.scores: is not a finite number
    built => missing_field | client: is missing
    built => json_duplicate_key | payload_params.items: is there twice
    built => number_out_of_range | payload_params.more: is not a finite number
    built => number_out_of_range | event_params.ts: is not a finite number
    built => control_character | event_params.guid: holds a control character
    ");
}

fn custom() -> CustomActivity {
    CustomActivity::new()
        .client_id(CLIENT)
        .attribute("CITY", "Thane&Kalyan")
        .attribute("STATE", "Maharashtra11")
        .msgid("103")
        .payload_param(
            "items",
            json::parse(br#"[{"prqt_s":1,"price_s":9990.91}]"#).unwrap(),
        )
        .activity_source("web")
        .ts(181_212_120_708.0)
        .activity_id(103.0)
        .foreign_key("9999999997")
        .identity("a@example.com")
        .guid("4f0c")
        .journey_name("Bought once")
}

fn publish(event_type: &str, payload: &str) -> Result<Event, Invalid> {
    let envelope = format!(r#"{{"type":"{event_type}","client":"{CLIENT}","payload":{payload}}}"#);
    Event::parse(envelope.as_bytes())
}

fn text(event: &Event) -> &str {
    std::str::from_utf8(event.payload()).unwrap()
}

fn changed(sample: &str, from: &str, to: &str) -> String {
    assert!(sample.contains(from), "{from} is not in the sample");
    sample.replacen(from, to, 1)
}

fn refusal(change: &str, refused: Result<Event, Invalid>) -> String {
    let error = refused.expect_err(change);
    format!("{change} => {} | {error}\n", error.code)
}
