//! The payloads of Mars: what is built is what is documented, and both ways in are judged alike.

use std::fmt::Write as _;

use tharsis_core::{
    Invalid, Timestamp,
    event::Event,
    payload::{
        Nudge, ProductDiscountRecommendation, identity,
        nudge::Content,
        product_discount_recommendation::{Explanation, Prediction, step},
    },
};

const RECOMMENDATION: &str = r#"{"predictionId":"a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9","type":"product_discount_recommendation","campaignId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","maraxId":"280b850d-c28d-4812-8ad9-a164acd96a62","userIdentities":{"userId":"3594918"},"predictions":[{"product_id":"36011017-0e00-4e29-a054-7a1fbb8b60a2","name":"TEGO Tank Top for Women - Blue - L","sku":"T-WTTBL","type":"percentage","discount":30,"min":10,"max":50,"step":1,"explanations":[{"step":"product-recommendation","description":"ranked first for the user","score":0.5},{"step":"user-engagement-scoring","description":"seldom here","score":0.5},{"step":"discount-allocation","description":"within budget","score":0.1}]}]}"#;

const NUDGE: &str = r##"{"nudgeUserId":"0b6b9d2b-2a02-4e4a-a3f5-0f2a3a9a2b11","type":"nudge","campaignId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","maraxId":"280b850d-c28d-4812-8ad9-a164acd96a62","userIdentities":{"clevertapId":"3594918","userId":"280b850d-c28d-4812-8ad9-a164acd96a62","email":"testuser@example.com"},"status":"pristine","trigger":"time","channel":"push","nudgeQueueDateTime":"2020-01-24T11:59:59.546+00:00","nudgeExpiryDateTime":"2020-01-24T13:59:59.546+00:00","content":{"title":"Still thinking?","body":"It is 20 % off today","image":"https://cdn.example.com/t.png","clickAction":"MainActivity","textColour":"#FFFFFF"},"event":{"name":"product_viewed"}}"##;

#[test]
fn a_built_recommendation_is_the_documented_sample() {
    let event = recommendation().event().unwrap();
    assert_eq!(text(&event), RECOMMENDATION);
    assert_eq!(Event::parse(RECOMMENDATION.as_bytes()).unwrap(), event);

    assert_eq!(
        event.event_type().as_str(),
        "product_discount_recommendation"
    );
    assert_eq!(
        event.client().to_string(),
        "b4aeba4e-a4c0-4896-866a-56f8bcb372fc"
    );
    assert_eq!(
        event.campaign(),
        Some("36011017-0e00-4e29-a054-7a1fbb8b60a2")
    );
    assert_eq!(
        event.recipient(),
        Some("280b850d-c28d-4812-8ad9-a164acd96a62")
    );
    assert_eq!(event.expires_at(), None);
}

#[test]
fn a_built_nudge_is_the_documented_sample() {
    let event = nudge().event().unwrap();
    assert_eq!(text(&event), NUDGE);
    assert_eq!(Event::parse(NUDGE.as_bytes()).unwrap(), event);

    assert_eq!(event.event_type().as_str(), "nudge");
    assert_eq!(event.expires_at(), Some(time("2020-01-24T13:59:59.546Z")));
    assert_eq!(event.not_before(), None);
}

#[test]
fn what_may_be_absent_may_be_absent() {
    let bare = ProductDiscountRecommendation::new()
        .prediction_id("a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9")
        .campaign_id("36011017-0e00-4e29-a054-7a1fbb8b60a2")
        .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
        .marax_id("280b850d-c28d-4812-8ad9-a164acd96a62")
        .identity("crm", "7")
        .prediction(
            Prediction::new("1", "Tank Top")
                .discount(30.0)
                .range(10.0, 50.0, 1.0),
        );
    insta::assert_snapshot!(text(&bare.event().unwrap()), @r#"{"predictionId":"a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9","type":"product_discount_recommendation","campaignId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","maraxId":"280b850d-c28d-4812-8ad9-a164acd96a62","userIdentities":{"crm":"7"},"predictions":[{"product_id":"1","name":"Tank Top","type":"percentage","discount":30,"min":10,"max":50,"step":1}]}"#);

    let bare = Nudge::new()
        .nudge_user_id("0b6b9d2b-2a02-4e4a-a3f5-0f2a3a9a2b11")
        .campaign_id("36011017-0e00-4e29-a054-7a1fbb8b60a2")
        .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
        .marax_id("280b850d-c28d-4812-8ad9-a164acd96a62")
        .identity(identity::EMAIL, "testuser@example.com")
        .queued_at(time("2020-01-24T11:59:59.546Z"))
        .expires_at(time("2020-01-24T13:59:59.546Z"))
        .content(Content::new("", "line one\nline two"));
    insta::assert_snapshot!(text(&bare.event().unwrap()), @r#"{"nudgeUserId":"0b6b9d2b-2a02-4e4a-a3f5-0f2a3a9a2b11","type":"nudge","campaignId":"36011017-0e00-4e29-a054-7a1fbb8b60a2","clientId":"b4aeba4e-a4c0-4896-866a-56f8bcb372fc","maraxId":"280b850d-c28d-4812-8ad9-a164acd96a62","userIdentities":{"email":"testuser@example.com"},"status":"pristine","trigger":"time","channel":"push","nudgeQueueDateTime":"2020-01-24T11:59:59.546+00:00","nudgeExpiryDateTime":"2020-01-24T13:59:59.546+00:00","content":{"title":"","body":"line one\nline two"}}"#);
}

#[test]
fn open_strings_take_what_no_document_names() {
    for (from, to) in [
        (r#""status":"pristine""#, r#""status":"seen""#),
        (r#""trigger":"time""#, r#""trigger":"geofence""#),
        (r#""channel":"push""#, r#""channel":"whatsapp""#),
    ] {
        Event::parse(changed(NUDGE, from, to).as_bytes()).unwrap();
    }
    for (from, to) in [
        (r#""type":"percentage""#, r#""type":"flat""#),
        (
            r#""step":"product-recommendation""#,
            r#""step":"gut-feeling""#,
        ),
        (r#""userId":"3594918""#, r#""loyalty card":"3594918""#),
    ] {
        Event::parse(changed(RECOMMENDATION, from, to).as_bytes()).unwrap();
    }
}

#[test]
fn unknown_fields_stay_where_they_are() {
    let extended = changed(
        NUDGE,
        r#""status":"#,
        r#""x":{"\u0000":[1.0,{}]},"status":"#,
    );
    let extended = changed(&extended, r#""image":"#, r#""sound":null,"image":"#);
    let event = Event::parse(extended.as_bytes()).unwrap();
    assert_eq!(text(&event), extended.replace("1.0", "1"));
}

#[test]
fn times_are_sent_as_they_were_handed_over() {
    let other = changed(
        NUDGE,
        "2020-01-24T13:59:59.546+00:00",
        "2020-01-24T19:29:59+05:30",
    );
    let event = Event::parse(other.as_bytes()).unwrap();
    assert_eq!(text(&event), other);
    assert_eq!(event.expires_at(), Some(time("2020-01-24T13:59:59Z")));

    let leap = changed(
        NUDGE,
        "2020-01-24T13:59:59.546+00:00",
        "2020-01-24T23:59:60Z",
    );
    let event = Event::parse(leap.as_bytes()).unwrap();
    assert_eq!(event.expires_at(), Some(time("2020-01-24T23:59:59.999Z")));
}

#[test]
fn campaign_and_recipient_are_known_by_one_spelling() {
    let shouted = changed(
        NUDGE,
        "280b850d-c28d-4812-8ad9-a164acd96a62\",\"userIdentities",
        "280B850D-C28D-4812-8AD9-A164ACD96A62\",\"userIdentities",
    );
    let event = Event::parse(shouted.as_bytes()).unwrap();
    assert_eq!(
        event.recipient(),
        Some("280b850d-c28d-4812-8ad9-a164acd96a62")
    );
    assert_eq!(text(&event), shouted);
}

#[test]
fn a_bad_recommendation_is_refused_by_the_name_of_its_field() {
    let long = |length| "x".repeat(length);
    let refused = [
        (
            r#""predictionId":"a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9","#,
            "",
        ),
        (
            "a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9",
            "{a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9}",
        ),
        (
            "a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9",
            "00000000-0000-0000-0000-000000000000",
        ),
        (r#""a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9""#, "12345"),
        (r#""a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9""#, "null"),
        (r#""a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9""#, r#""""#),
        (r#"{"userId":"3594918"}"#, "{}"),
        (r#"{"userId":"3594918"}"#, r#"{"userId":"  "}"#),
        (r#"{"userId":"3594918"}"#, r#"["3594918"]"#),
        (r#"{"userId":"3594918"}"#, r#"{"userId":3594918}"#),
        (r#"{"userId":"3594918"}"#, r#"{"":"3594918"}"#),
        (r#"{"userId":"3594918"}"#, r#"{"userId":"1","userId":"2"}"#),
        (r#""discount":30"#, r#""discount":9"#),
        (r#""discount":30"#, r#""discount":-5"#),
        (
            r#""discount":30,"min":10,"max":50"#,
            r#""discount":101,"min":10,"max":200"#,
        ),
        (
            r#""discount":30,"min":10,"max":50"#,
            r#""discount":10.0000000001,"min":0,"max":10"#,
        ),
        (
            r#""discount":30,"min":10,"max":50"#,
            r#""discount":30,"min":30,"max":10"#,
        ),
        (r#""discount":30"#, r#""discount":30.5"#),
        (r#""discount":30"#, r#""discount":"30""#),
        (r#""discount":30"#, r#""discount":1e999"#),
        (r#""discount":30"#, r#""discount":NaN"#),
        (r#""discount":30,"#, ""),
        (r#""step":1,"#, r#""step":-1,"#),
        (r#""step":1,"#, ""),
        (r#","score":0.1"#, ""),
        (r#""score":0.1"#, r#""score":null"#),
        (r#""description":"within budget","#, ""),
        (r#""step":"discount-allocation","#, ""),
        (r#""sku":"T-WTTBL""#, r#""sku":null"#),
        ("T-WTTBL", &long(2_049)),
        ("T-WTTBL", r"T\u0007"),
        ("within budget", &long(16_385)),
        (
            r#""product_id":"36011017-0e00-4e29-a054-7a1fbb8b60a2""#,
            r#""product_id":" ""#,
        ),
        (r#""type":"percentage""#, r#""type":"per\ncent""#),
        (r#""predictions":[{"#, r#""predictions":[null,{"#),
        (r#""predictions":["#, r#""p":["#),
        (r#""explanations":["#, r#""explanations":{},"e":["#),
    ]
    .map(|(from, to)| {
        refusal(
            from,
            to,
            Event::parse(changed(RECOMMENDATION, from, to).as_bytes()),
        )
    });
    insta::assert_snapshot!(refused.concat(), @r#"
     => missing_field | predictionId: is missing
    {a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9} => bad_uuid | predictionId: is not a UUID (write it like 36011017-0e00-4e29-a054-7a1fbb8b60a2)
    00000000-0000-0000-0000-000000000000 => bad_uuid | predictionId: is the nil UUID, which names nothing
    12345 => bad_uuid | predictionId: is a number, not a UUID in a string
    null => bad_uuid | predictionId: is null, not a UUID in a string
    "" => bad_uuid | predictionId: is not a UUID (write it like 36011017-0e00-4e29-a054-7a1fbb8b60a2)
    {} => empty_identities | userIdentities: names nobody (give at least one identity, such as userId)
    {"userId":"  "} => empty_identities | userIdentities: names nobody (give at least one identity, such as userId)
    ["3594918"] => wrong_type | userIdentities: is an array, not an object
    {"userId":3594918} => wrong_type | userIdentities.userId: is a number, not a string
    {"":"3594918"} => empty | userIdentities[""]: is empty
    {"userId":"1","userId":"2"} => json_duplicate_key | userIdentities.userId: is there twice
    "discount":9 => discount_out_of_range | predictions[0].discount: lies outside of min and max
    "discount":-5 => discount_out_of_range | predictions[0].discount: lies outside of min and max
    "discount":101,"min":10,"max":200 => discount_out_of_range | predictions[0].discount: is no percentage from 0 to 100
    "discount":10.0000000001,"min":0,"max":10 => discount_out_of_range | predictions[0].discount: lies outside of min and max
    "discount":30,"min":30,"max":10 => range_inverted | predictions[0].min: is larger than max
    "discount":30.5 => discount_off_step | predictions[0].discount: is not a whole number of steps above min
    "discount":"30" => wrong_type | predictions[0].discount: is a string, not a number
    "discount":1e999 => number_out_of_range | predictions[0].discount: is larger than a double can be (send it as a string)
    "discount":NaN => json_syntax | line 1 column 445: a value is expected
     => missing_field | predictions[0].discount: is missing
    "step":-1, => out_of_range | predictions[0].step: is negative
     => missing_field | predictions[0].step: is missing
     => missing_field | predictions[0].explanations[2].score: is missing
    "score":null => wrong_type | predictions[0].explanations[2].score: is null, not a number
     => missing_field | predictions[0].explanations[2].description: is missing
     => missing_field | predictions[0].explanations[2].step: is missing
    "sku":null => wrong_type | predictions[0].sku: is null (leave the field out)
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx => too_long | predictions[0].sku: is longer than 2048 characters
    T\u0007 => control_character | predictions[0].sku: holds a control character
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx => too_long | predictions[0].explanations[2].description: is longer than 16384 characters
    "product_id":" " => empty | predictions[0].product_id: is empty
    "type":"per\ncent" => control_character | predictions[0].type: holds a control character
    "predictions":[null,{ => wrong_type | predictions[0]: is null, not an object
    "p":[ => missing_field | predictions: is missing
    "explanations":{},"e":[ => wrong_type | predictions[0].explanations: is an object, not an array
    "#);
}

#[test]
fn a_bad_nudge_is_refused_by_the_name_of_its_field() {
    let refused = [
        ("0b6b9d2b-2a02-4e4a-a3f5-0f2a3a9a2b11", "0b6b9d2b"),
        (
            "2020-01-24T13:59:59.546+00:00",
            "2020-01-24T11:59:59.545+00:00",
        ),
        (
            "2020-01-24T13:59:59.546+00:00",
            "2020-01-24T12:59:59.546+01:00",
        ),
        ("2020-01-24T13:59:59.546+00:00", "2020-02-30T00:00:00Z"),
        ("2020-01-24T13:59:59.546+00:00", "2020-01-24T24:00:00Z"),
        ("2020-01-24T13:59:59.546+00:00", "2020-01-24T13:59:59"),
        ("2020-01-24T13:59:59.546+00:00", "tomorrow"),
        (r#""2020-01-24T13:59:59.546+00:00""#, "1579874399546"),
        (
            r#""nudgeQueueDateTime":"2020-01-24T11:59:59.546+00:00","#,
            "",
        ),
        (r#""channel":"push","#, ""),
        (r#""channel":"push""#, r#""channel":"""#),
        (r#""channel":"push""#, r#""channel":["push"]"#),
        (r#""status":"pristine""#, r#""status":"\u001b[31m""#),
        (r#""title":"Still thinking?","#, ""),
        (
            r#""title":"Still thinking?""#,
            r#""title":"Still\nthinking?""#,
        ),
        ("It is 20 % off today", r"It is 20 % off\u0000"),
        (r##""textColour":"#FFFFFF""##, r#""textColour":16777215"#),
        (r#"{"name":"product_viewed"}"#, "{}"),
        (r#"{"name":"product_viewed"}"#, r#""product_viewed""#),
        (r#""content":{"#, r#""content":null,"c":{"#),
    ]
    .map(|(from, to)| refusal(from, to, Event::parse(changed(NUDGE, from, to).as_bytes())));
    insta::assert_snapshot!(refused.concat(), @r#"
    0b6b9d2b => bad_uuid | nudgeUserId: is not a UUID (write it like 36011017-0e00-4e29-a054-7a1fbb8b60a2)
    2020-01-24T11:59:59.545+00:00 => expiry_before_queue | nudgeExpiryDateTime: is not after nudgeQueueDateTime
    2020-01-24T12:59:59.546+01:00 => expiry_before_queue | nudgeExpiryDateTime: is not after nudgeQueueDateTime
    2020-02-30T00:00:00Z => bad_time | nudgeExpiryDateTime: is not a time as RFC 3339 writes it (write it like 2026-01-31T12:30:00.000+00:00)
    2020-01-24T24:00:00Z => bad_time | nudgeExpiryDateTime: is not a time as RFC 3339 writes it (write it like 2026-01-31T12:30:00.000+00:00)
    2020-01-24T13:59:59 => bad_time | nudgeExpiryDateTime: is not a time as RFC 3339 writes it (write it like 2026-01-31T12:30:00.000+00:00)
    tomorrow => bad_time | nudgeExpiryDateTime: is not a time as RFC 3339 writes it (write it like 2026-01-31T12:30:00.000+00:00)
    1579874399546 => wrong_type | nudgeExpiryDateTime: is a number, not a string
     => missing_field | nudgeQueueDateTime: is missing
     => missing_field | channel: is missing
    "channel":"" => empty | channel: is empty
    "channel":["push"] => wrong_type | channel: is an array, not a string
    "status":"\u001b[31m" => control_character | status: holds a control character
     => missing_field | content.title: is missing
    "title":"Still\nthinking?" => control_character | content.title: holds a control character
    It is 20 % off\u0000 => control_character | content.body: holds a control character
    "textColour":16777215 => wrong_type | content.textColour: is a number, not a string
    {} => missing_field | event.name: is missing
    "product_viewed" => wrong_type | event: is a string, not an object
    "content":null,"c":{ => wrong_type | content: is null, not an object
    "#);
}

#[test]
fn a_builder_is_judged_like_text() {
    let with = |discount, min, max, step| {
        recommendation().prediction(
            Prediction::new("2", "Shorts")
                .discount(discount)
                .range(min, max, step),
        )
    };
    let refused = [
        ProductDiscountRecommendation::new(),
        recommendation().client_id("acme"),
        recommendation().identity(identity::USER_ID, "again"),
        with(f64::NAN, 0.0, 50.0, 1.0),
        with(f64::INFINITY, 0.0, 50.0, 1.0),
        with(30.0, f64::NEG_INFINITY, 50.0, 1.0),
        with(30.0, 0.0, 50.0, f64::NAN),
        with(51.0, 0.0, 50.0, 1.0),
        with(30.0, 50.0, 10.0, 1.0),
        with(10.5, 0.0, 50.0, 1.0),
        recommendation().prediction(Prediction::new("2", "Shorts")),
        recommendation().prediction(
            Prediction::new("2", "Shorts")
                .discount(30.0)
                .range(10.0, 50.0, 1.0)
                .explanation(Explanation::new(step::DISCOUNT_ALLOCATION, "", f64::NAN)),
        ),
    ]
    .map(|built| refusal("built", "", built.event()));
    insta::assert_snapshot!(refused.concat(), @r"
    => missing_field | predictionId: is missing
    => bad_uuid | clientId: is not a UUID (write it like 36011017-0e00-4e29-a054-7a1fbb8b60a2)
    => json_duplicate_key | userIdentities.userId: is there twice
    => number_out_of_range | predictions[1].discount: is not a finite number
    => number_out_of_range | predictions[1].discount: is not a finite number
    => number_out_of_range | predictions[1].min: is not a finite number
    => number_out_of_range | predictions[1].step: is not a finite number
    => discount_out_of_range | predictions[1].discount: lies outside of min and max
    => range_inverted | predictions[1].min: is larger than max
    => discount_off_step | predictions[1].discount: is not a whole number of steps above min
    => missing_field | predictions[1].discount: is missing
    => number_out_of_range | predictions[1].explanations[0].score: is not a finite number
    ");

    let late = nudge()
        .queued_at(time("2020-01-24T13:59:59.546Z"))
        .event()
        .unwrap_err();
    assert_eq!(
        (late.code, late.field.as_deref()),
        ("expiry_before_queue", Some("nudgeExpiryDateTime"))
    );
}

#[test]
fn negative_zero_is_sent_as_zero() {
    let event = recommendation()
        .prediction(
            Prediction::new("2", "Shorts")
                .discount(-0.0)
                .range(-0.0, 50.0, 1.0),
        )
        .event()
        .unwrap();
    assert!(text(&event).ends_with(r#""discount":0,"min":0,"max":50,"step":1}]}"#));
}

fn recommendation() -> ProductDiscountRecommendation {
    ProductDiscountRecommendation::new()
        .prediction_id("a8a3b30a-f5f3-408e-b5b7-62fde7bb32a9")
        .campaign_id("36011017-0e00-4e29-a054-7a1fbb8b60a2")
        .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
        .marax_id("280b850d-c28d-4812-8ad9-a164acd96a62")
        .identity(identity::USER_ID, "3594918")
        .prediction(
            Prediction::new(
                "36011017-0e00-4e29-a054-7a1fbb8b60a2",
                "TEGO Tank Top for Women - Blue - L",
            )
            .sku("T-WTTBL")
            .discount(30.0)
            .range(10.0, 50.0, 1.0)
            .explanation(Explanation::new(
                step::PRODUCT_RECOMMENDATION,
                "ranked first for the user",
                0.5,
            ))
            .explanation(Explanation::new(
                step::USER_ENGAGEMENT_SCORING,
                "seldom here",
                0.5,
            ))
            .explanation(Explanation::new(
                step::DISCOUNT_ALLOCATION,
                "within budget",
                0.1,
            )),
        )
}

fn nudge() -> Nudge {
    Nudge::new()
        .nudge_user_id("0b6b9d2b-2a02-4e4a-a3f5-0f2a3a9a2b11")
        .campaign_id("36011017-0e00-4e29-a054-7a1fbb8b60a2")
        .client_id("b4aeba4e-a4c0-4896-866a-56f8bcb372fc")
        .marax_id("280b850d-c28d-4812-8ad9-a164acd96a62")
        .identity(identity::CLEVERTAP_ID, "3594918")
        .identity(identity::USER_ID, "280b850d-c28d-4812-8ad9-a164acd96a62")
        .identity(identity::EMAIL, "testuser@example.com")
        .queued_at(time("2020-01-24T11:59:59.546Z"))
        .expires_at(time("2020-01-24T13:59:59.546Z"))
        .content(
            Content::new("Still thinking?", "It is 20 % off today")
                .image("https://cdn.example.com/t.png")
                .click_action("MainActivity")
                .text_colour("#FFFFFF"),
        )
        .about("product_viewed")
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn text(event: &Event) -> &str {
    std::str::from_utf8(event.payload()).unwrap()
}

fn changed(sample: &str, from: &str, to: &str) -> String {
    assert!(sample.contains(from), "{from} is not in the sample");
    sample.replacen(from, to, 1)
}

fn refusal(from: &str, to: &str, refused: Result<Event, Invalid>) -> String {
    let mut told = String::new();
    let change: String = to.chars().take(60).collect();
    let error = match refused {
        Ok(event) => panic!("{from} => {to} is accepted: {}", text(&event)),
        Err(error) => error,
    };
    let _ = writeln!(told, "{change} => {} | {error}", error.code);
    told
}
