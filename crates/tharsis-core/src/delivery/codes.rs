//! The stable codes of outcomes, as data: what the sender records, what lists and documents show.

use super::{End, Fault};

/// One outcome that an attempt, or a delivery without one, can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// What is recorded. `http_NNN` stands for a family: the digits are the status.
    pub code: &'static str,
    /// What follows from it.
    pub then: Then,
    /// What happened.
    pub meaning: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

impl Code {
    /// Whose doing it is; `None` for the end of a delivery without a request.
    pub const fn fault(&self) -> Option<Fault> {
        match self.then {
            Then::Delivered => Some(Fault::None),
            Then::Retry | Then::RetryWhenAsked | Then::Suspend => Some(Fault::Theirs),
            Then::Postpone => Some(Fault::Ours),
            Then::End(_) => None,
        }
    }
}

/// What follows from an outcome. [`verdict`](super::verdict) reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Then {
    /// The delivery ends `delivered`; under a profile that demands 200, another 2xx is retried.
    Delivered,
    /// It is retried by the subscription's policy, and is `dead` when that is used up.
    Retry,
    /// The same, but not before the instant that `Retry-After` names, within bounds.
    RetryWhenAsked,
    /// The delivery ends `dead` and the subscription is suspended.
    Suspend,
    /// The delivery waits some seconds; it costs no attempt.
    Postpone,
    /// It is itself how a delivery ended, without a request.
    End(End),
}

impl Then {
    /// The word for it in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry => "retry",
            Self::RetryWhenAsked => "retry_when_asked",
            Self::Suspend => "suspend",
            Self::Postpone => "postpone",
            Self::End(end) => end.as_str(),
        }
    }

    /// The same for people: a few words, lower case.
    pub const fn told(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::RetryWhenAsked => "retried, not before Retry-After",
            Self::Suspend => "dead, and the subscription is suspended",
            Self::Postpone => "waits, costs no attempt",
            Self::Delivered | Self::End(_) => self.as_str(),
        }
    }
}

/// What is known of a recorded code; the codes of statuses are found under their family.
///
/// # Examples
/// ```
/// use tharsis_core::delivery::codes;
///
/// assert_eq!(codes::find("http_503").map(|c| c.code), Some("http_503"));
/// assert_eq!(codes::find("http_418").map(|c| c.code), Some("http_NNN"));
/// assert_eq!(codes::find("nonsense"), None);
/// ```
pub fn find(code: &str) -> Option<&'static Code> {
    ALL.iter().find(|c| c.code == code).or_else(|| {
        let status = code.strip_prefix("http_").filter(|s| is_status(s))?;
        let family = if status.starts_with('2') {
            HTTP_2XX
        } else {
            HTTP_OTHER
        };
        ALL.iter().find(|c| c.code == family)
    })
}

fn is_status(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit())
}

const HTTP_2XX: &str = "http_2NN";
const HTTP_OTHER: &str = "http_NNN";

macro_rules! codes {
    ($($name:ident $code:literal $then:expr, $meaning:literal, $advice:literal;)*) => {
        $(
            #[doc = concat!("`", $code, "`: ", $meaning, ".")]
            pub const $name: &str = $code;
        )*

        /// All of them, in the order of a request's life.
        pub const ALL: &[Code] = &[
            $(Code { code: $code, then: $then, meaning: $meaning, advice: $advice },)*
            Code {
                code: HTTP_2XX,
                then: Then::Delivered,
                meaning: "the receiver took it",
                advice: "nothing; profiles that demand 200 count any other status as a failure",
            },
            Code {
                code: HTTP_OTHER,
                then: RETRIED,
                meaning: "the receiver answered with another status than one of success",
                advice: "look at the excerpt of its answer and at the receiver's logs",
            },
        ];
    };
}

const RETRIED: Then = Then::Retry;
const OURS: Then = Then::Postpone;
const REFUSED: Then = Then::End(End::Refused);
const BY_AN_ADMIN: Then = Then::End(End::Cancelled);

codes! {
    DNS_NO_SUCH_NAME "dns_no_such_name" RETRIED,
        "the host name does not exist",
        "check the spelling of the URL and whether the domain is still registered";
    DNS_NO_ADDRESS "dns_no_address" RETRIED,
        "the host name has no address",
        "give the name an A or AAAA record";
    DNS_TOO_MANY_ADDRESSES "dns_too_many_addresses" RETRIED,
        "the host name has more addresses than are looked at",
        "let the name lead to at most 64 addresses";
    DNS_FAILURE "dns_failure" RETRIED,
        "the host name could not be looked up",
        "check the domain's name servers; if all names fail, the resolver of this machine";
    TIMEOUT_DNS "timeout_dns" RETRIED,
        "the look-up of the host name took until the deadline",
        "check the domain's name servers; if all names fail, the resolver of this machine";
    ADDRESS_NOT_GLOBAL "address_not_global" RETRIED,
        "the host name leads to an address that is not public; nothing was sent",
        "point the name at public addresses, or let the operator allow the range by name";
    ADDRESS_IS_SELF "address_is_self" RETRIED,
        "the host name leads back to this machine; nothing was sent",
        "point the name at the receiver, or let the operator allow the range by name";
    ADDRESS_UNVETTED "address_unvetted" RETRIED,
        "an answer came from an address that was never vetted, which should not be possible; it was not read",
        "report it: something went around the egress policy of this process";
    PROXY_UNREACHABLE "proxy_unreachable" OURS,
        "the proxy that requests go through cannot be reached, or does not let us in",
        "check [egress] proxy, and that the proxy runs and takes our user and password";
    PROXY_REFUSED "proxy_refused" RETRIED,
        "the proxy made no connection to the host",
        "look at the proxy's log: it forbids the host, or cannot reach it either";
    CONNECT_REFUSED "connect_refused" RETRIED,
        "nothing listens on the port",
        "start the receiver, or open its firewall";
    CONNECT_UNREACHABLE "connect_unreachable" RETRIED,
        "there is no route to the address",
        "check the receiver's network; if it has only IPv6, whether this machine has any";
    CONNECT_FAILED "connect_failed" RETRIED,
        "the connection could not be made",
        "the detail says why";
    TIMEOUT_CONNECT "timeout_connect" RETRIED,
        "no connection was made before the deadline",
        "check that the receiver is up and that its firewall lets us in";
    TLS_EOF "tls_eof" RETRIED,
        "the connection was closed before the handshake was done",
        "check that the port speaks TLS";
    TLS_CERT_EXPIRED "tls_cert_expired" RETRIED,
        "the receiver's certificate has expired",
        "renew the certificate and reload the server";
    TLS_CERT_NOT_YET_VALID "tls_cert_not_yet_valid" RETRIED,
        "the receiver's certificate is not valid yet",
        "check the clocks of the receiver's issuer and of this machine";
    TLS_CERT_UNKNOWN_ISSUER "tls_cert_unknown_issuer" RETRIED,
        "no trusted authority vouches for the receiver's certificate",
        "serve the whole chain with its intermediates; a private CA is trusted by file";
    TLS_CERT_NAME_MISMATCH "tls_cert_name_mismatch" RETRIED,
        "the receiver's certificate is for another name",
        "get a certificate for the host of the URL, or correct the URL";
    TLS_CERT_INVALID_PURPOSE "tls_cert_invalid_purpose" RETRIED,
        "the receiver's certificate is not for servers",
        "get one for server authentication";
    TLS_CERT_REVOKED "tls_cert_revoked" RETRIED,
        "the receiver's certificate was revoked",
        "get a new one";
    TLS_CERT_INVALID "tls_cert_invalid" RETRIED,
        "the receiver's certificate cannot be used",
        "the detail says why";
    TLS_NO_COMMON_VERSION "tls_no_common_version" RETRIED,
        "the receiver speaks neither TLS 1.2 nor 1.3",
        "turn one of them on";
    TLS_NO_COMMON_CIPHER "tls_no_common_cipher" RETRIED,
        "the receiver offers no cipher suite that is still safe",
        "turn on AES-GCM or ChaCha20-Poly1305";
    TLS_ALERT "tls_alert" RETRIED,
        "the receiver ended the handshake with an alert",
        "the detail names the alert; look at the server's TLS log";
    TLS_PROTOCOL "tls_protocol" RETRIED,
        "the receiver does not speak TLS as it must",
        "check that the port speaks TLS, and what stands between";
    TIMEOUT_TLS "timeout_tls" RETRIED,
        "the handshake took until the deadline",
        "check the load of the receiver";
    TIMEOUT_WRITE "timeout_write" RETRIED,
        "the receiver did not read the request before the deadline",
        "read the body before working on it";
    CONNECTION_RESET "connection_reset" RETRIED,
        "the receiver broke the connection off; it may have got the request",
        "look at the receiver's logs; the next attempt carries the same bytes";
    CONNECTION_CLOSED "connection_closed" RETRIED,
        "the receiver closed the connection without an answer; it may have got the request",
        "look at the receiver's logs; the next attempt carries the same bytes";
    TIMEOUT_RESPONSE_HEADERS "timeout_response_headers" RETRIED,
        "no answer came before the deadline; the receiver may have got the request",
        "answer first and work afterwards";
    TIMEOUT_TOTAL "timeout_total" RETRIED,
        "the request took until the deadline",
        "answer first and work afterwards";
    HTTP_PROTOCOL "http_protocol" RETRIED,
        "the answer is not HTTP/1.1",
        "the detail says what is wrong with it";
    HTTP_INVALID_STATUS "http_invalid_status" RETRIED,
        "the status of the answer is no number of three digits from 100 on",
        "answer with a status that RFC 9110 knows";
    HTTP_TOO_MANY_HEADERS "http_too_many_headers" RETRIED,
        "the answer has more headers than are read",
        "answer with at most 100";
    HTTP_HEAD_TOO_LARGE "http_head_too_large" RETRIED,
        "the head of the answer is larger than is read",
        "answer with fewer or shorter headers";
    HTTP_REDIRECT "http_redirect" RETRIED,
        "the receiver redirects; no redirect is followed",
        "register the URL that it redirects to";
    HTTP_401 "http_401" RETRIED,
        "the receiver does not accept the signature or credentials",
        "check that both sides have the same secret";
    HTTP_403 "http_403" RETRIED,
        "the receiver refuses the request, by its signature or by a firewall",
        "check that both sides have the same secret, and the receiver's firewall";
    HTTP_404 "http_404" RETRIED,
        "the receiver knows no such path",
        "check the path of the URL and whether the receiver is deployed";
    HTTP_405 "http_405" RETRIED,
        "the receiver takes no POST there",
        "route POST to the path";
    HTTP_410 "http_410" Then::Suspend,
        "the receiver is gone for good; the subscription was suspended",
        "remove the subscription, or correct its URL and resume it";
    HTTP_413 "http_413" RETRIED,
        "the body is larger than the receiver takes",
        "raise the receiver's limit";
    HTTP_429 "http_429" Then::RetryWhenAsked,
        "the receiver is busy and asks us to slow down",
        "nothing, it is tried again; for good, give the subscription a rate: --rate 10/s";
    HTTP_503 "http_503" Then::RetryWhenAsked,
        "the receiver is not available",
        "nothing, it is tried again";
    LOCAL_RESOURCE "local_resource" OURS,
        "this process ran out of descriptors, ports or memory; the attempt does not count",
        "raise the limits of this process";
    SECRET_UNREADABLE "secret_unreadable" OURS,
        "the subscription's secret cannot be opened; the attempt does not count",
        "give the process the right key file, or rotate the secret, then resume the subscription";
    INTERNAL_ERROR "internal_error" OURS,
        "a defect of ours; the attempt does not count",
        "report it, with the detail";
    EXPIRED "expired" Then::End(End::Expired),
        "the event's expiry passed before it could be sent",
        "nothing; publish sooner or with a later expiry";
    PAYLOAD_TOO_LARGE "payload_too_large" REFUSED,
        "the body is over the limit of the subscription's profile",
        "publish smaller payloads";
    EVENT_TYPE_UNKNOWN "event_type_unknown" REFUSED,
        "the subscription's profile has no event of this type; a worker that did not know the profile took it for one",
        "let all workers have the tharsis.toml that declares the profile, or choose the event types of the subscription";
    FILTER_TOO_COSTLY "filter_too_costly" REFUSED,
        "the subscription's filter takes more steps for this event than a filter may take",
        "give the subscription a simpler filter, and publish the event again under a key of its own";
    PAYLOAD_INVALID "payload_invalid" REFUSED,
        "the payload could not be frozen",
        "publish what the detail asks for";
    CAMPAIGN_CANCELLED "campaign_cancelled" BY_AN_ADMIN,
        "an admin cancelled its campaign, or its recipient in it",
        "nothing; resume the campaign and replay it if it was cancelled by mistake";
    CANCELLED "cancelled" BY_AN_ADMIN,
        "an admin ended the delivery",
        "nothing; replay it to send it after all";
    SUPERSEDED "superseded" BY_AN_ADMIN,
        "an admin resumed the subscription with the latest only, and a later event was for the same recipient",
        "nothing; replay it to send it after all";
    DROPPED "dropped" BY_AN_ADMIN,
        "an admin resumed the subscription without what had been held",
        "nothing; replay it to send it after all";
    SUBSCRIPTION_REMOVED "subscription_removed" BY_AN_ADMIN,
        "an admin removed the subscription",
        "nothing";
    RETENTION "retention" Then::End(End::Expired),
        "it was held until its event came to the age up to which events are kept",
        "nothing; mend what held it, or keep events for longer: retention.history";
}
