use std::fmt::Write;

use serde_json::Value;

/// A client.
pub const ALPHA: &str = "36011017-0e00-4e29-a054-7a1fbb8b60a2";
/// Another client.
pub const BETA: &str = "5a3ee2d8-91c4-4c0c-8a6e-2f6de1a0c7b1";

/// One event as an engine hands it over, written as JavaScript would write it, so that a receiver gets these bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Tells it from all others: its `predictionId` or `nudgeUserId`.
    pub mark: String,
    /// Its JSON, without an end of line.
    pub text: String,
}

impl Line {
    /// A prediction.
    pub fn prediction(random: &mut fastrand::Rng, client: &str) -> Self {
        let mark = uuid(random);
        let (campaign, marax) = (uuid(random), uuid(random));
        let user = random.u32(..);
        let discount = 10 + random.u32(..=40);
        let text = format!(
            r#"{{"predictionId":"{mark}","type":"product_discount_recommendation","campaignId":"{campaign}","clientId":"{client}","maraxId":"{marax}","userIdentities":{{"userId":"{user}"}},"predictions":[{{"product_id":"{user}","name":"TEGO Tank Top – Größe L","sku":"T-WTTBL","type":"percentage","discount":{discount},"min":10,"max":50,"step":1,"explanations":[{{"step":"product-recommendation","description":"often seen with what lies in the basket","score":0.5}},{{"step":"user-engagement-scoring","description":"comes back twice a week","score":0.5}},{{"step":"discount-allocation","description":"cheap to give","score":0.1}}]}}]}}"#
        );
        Self { mark, text }
    }

    /// A nudge that does not expire in this century.
    pub fn nudge(random: &mut fastrand::Rng, client: &str) -> Self {
        Self::nudge_until(random, client, "2099-12-31T23:59:59.999+00:00")
    }

    /// A nudge that expires then.
    pub fn nudge_until(random: &mut fastrand::Rng, client: &str, expiry: &str) -> Self {
        let mark = uuid(random);
        let (campaign, marax) = (uuid(random), uuid(random));
        let user = random.u32(..);
        let text = format!(
            r##"{{"nudgeUserId":"{mark}","type":"nudge","campaignId":"{campaign}","clientId":"{client}","maraxId":"{marax}","userIdentities":{{"clevertapId":"{user}","email":"testuser@example.com"}},"status":"pristine","trigger":"time","channel":"push","nudgeQueueDateTime":"2020-01-24T11:59:59.546+00:00","nudgeExpiryDateTime":"{expiry}","content":{{"title":"Still there?","body":"Your basket waits 🛒","image":"https://img.example.com/{user}.png","clickAction":"MainActivity","textColour":"#FFFFFF"}},"event":{{"name":"product_viewed"}}}}"##
        );
        Self { mark, text }
    }

    /// The same about this recipient.
    #[must_use]
    pub fn about(mut self, recipient: &str) -> Self {
        const NAME: &str = "\"maraxId\":\"";
        let from = self.text.find(NAME).expect("it is about somebody") + NAME.len();
        let length = self.text[from..].find('"').expect("it ends");
        self.text.replace_range(from..from + length, recipient);
        self
    }

    /// Its type.
    pub fn event_type(&self) -> &'static str {
        if self.text.starts_with("{\"nudgeUserId\"") {
            "nudge"
        } else {
            "product_discount_recommendation"
        }
    }

    /// On whose behalf it is.
    pub fn client(&self) -> String {
        let event: Value = serde_json::from_str(&self.text).expect("a line is JSON");
        let client = event["clientId"].as_str();
        client.expect("every event has a client").to_owned()
    }

    /// The same event in an envelope with these fields beside type, client and payload: `"not_before":"…"`.
    #[must_use]
    pub fn in_envelope(&self, fields: &str) -> Self {
        let payload: Value = serde_json::from_str(&self.text).expect("a line is JSON");
        let text = format!(
            r#"{{"type":{},"client":{},{fields},"payload":{}}}"#,
            payload["type"], payload["clientId"], self.text
        );
        Self {
            mark: self.mark.clone(),
            text,
        }
    }
}

/// The mark of what was received.
#[track_caller]
pub fn mark_of(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).expect("a body is JSON");
    let mark = ["predictionId", "nudgeUserId"]
        .iter()
        .find_map(|key| body[key].as_str());
    mark.expect("every event of ours is marked").to_owned()
}

/// A random UUID (version 4).
pub(crate) fn uuid(random: &mut fastrand::Rng) -> String {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").expect("a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use tharsis::Event;

    use super::*;

    /// Else no story could demand that a receiver gets the very bytes that were published.
    #[test]
    fn lines_are_written_as_javascript_would_write_them() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..100 {
            for line in [
                Line::prediction(&mut random, ALPHA),
                Line::nudge(&mut random, BETA),
            ] {
                let event = Event::parse(line.text.as_bytes()).expect("it is a good event");
                assert_eq!(event.payload(), &line.text);
                let enveloped = line.in_envelope(r#""key":"k""#);
                let event = Event::parse(enveloped.text.as_bytes()).expect("so is this");
                assert_eq!(event.payload(), &line.text);
                assert_eq!(mark_of(line.text.as_bytes()), line.mark);
            }
        }
    }
}
