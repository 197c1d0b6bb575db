use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tharsis::{
    Secret,
    profile::{KeyKind, MARS},
    signer::{self, Incoming},
};
use tharsis_receiver::{
    Answer, Flaw, Judge, Options, Received, Receiver, Reply, StatusCode, Verify,
};

use crate::{Line, Says, World, mark_of, wait_until};

/// How a receiver of a story behaves; [`InboxBuilder::start`] starts it.
#[derive(Debug)]
#[must_use]
pub struct InboxBuilder<'w> {
    world: &'w World,
    name: String,
    answer: Answer,
    refusals: HashMap<String, u32>,
    flaw: Option<Flaw>,
    secret: String,
    at: Option<(Vec<String>, Vec<IpAddr>)>,
}

/// A receiver that keeps what it gets, and verifies it with its own secret.
#[derive(Debug)]
pub struct Inbox {
    /// What the story calls it; its path is this with a slash.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// What its requests are to be signed with.
    pub secret: String,
    receiver: Receiver,
}

impl<'w> InboxBuilder<'w> {
    pub(crate) fn new(world: &'w World, name: &str) -> Self {
        Self {
            world,
            name: name.to_owned(),
            answer: Answer::default(),
            refusals: HashMap::new(),
            flaw: None,
            secret: world.secret(),
            at: None,
        }
    }

    /// It answers with this status: always, or, with a [`Self::then`] behind it, once.
    pub fn answers(mut self, status: u16) -> Self {
        self.answer.status = code(status);
        self
    }

    /// After what came before, once, it answers with this status.
    pub fn then(self, status: u16) -> Self {
        self.after(1, status)
    }

    /// After so many answers of what came before, it answers with this status.
    pub fn after(mut self, count: u32, status: u16) -> Self {
        self.answer.fail_first = count;
        self.answer.fail_status = self.answer.status;
        self.answer.status = code(status);
        self
    }

    /// What has this in it is answered 500 so often before it is answered as all else.
    pub fn refuses(mut self, part: &str, count: u32) -> Self {
        self.refusals.insert(part.to_owned(), count);
        self
    }

    /// It answers to HEAD with this status.
    pub fn answers_head(mut self, status: u16) -> Self {
        self.answer.head = code(status);
        self
    }

    /// Each answer has this body.
    pub fn says(mut self, body: &'static str) -> Self {
        self.answer.body = body.into();
        self
    }

    /// Each answer has this field.
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        let value = value.parse().expect("a story gives a header's value");
        self.answer.headers.insert(name, value);
        self
    }

    /// It waits so long before each answer.
    pub fn delays(mut self, delay: Duration) -> Self {
        self.answer.delay = delay;
        self
    }

    /// Something is wrong with its certificate.
    pub fn flawed(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        self
    }

    /// It verifies with this secret.
    pub fn with_secret(mut self, secret: &str) -> Self {
        secret.clone_into(&mut self.secret);
        self
    }

    /// It is at these addresses of [`World::internet`], which these names lead to, each of them; the first stands in its URL.
    #[track_caller]
    pub fn at(mut self, names: &[&str], addresses: &[&str]) -> Self {
        let addresses = (addresses.iter())
            .map(|address| address.parse().expect("a story gives addresses"))
            .collect();
        self.at = Some((
            names.iter().map(|name| (*name).to_owned()).collect(),
            addresses,
        ));
        self
    }

    /// Starts it on a free port, which is opened in the world's configuration, or on that of HTTPS where it is to be.
    #[must_use]
    pub fn start(self) -> Inbox {
        let secret = Secret::brought(KeyKind::Text, &self.secret).expect("a story gives a secret");
        let judge = (!self.refusals.is_empty()).then(|| judge(self.refusals, &self.answer));
        let mut options = Options {
            answer: self.answer,
            flaw: self.flaw,
            judge,
            verify: Some(Verify {
                profile: Arc::new(MARS.clone()),
                secret: Some(secret),
                url: None,
            }),
            ..Options::new(self.world.authority())
        };
        let path = format!("/{}", self.name);
        let (receiver, url) = match self.at {
            None => {
                let receiver =
                    (self.world.block_on(Receiver::bind(options))).expect("there is a free port");
                self.world.open_port(receiver.addr().port());
                let url = receiver.url(&path);
                (receiver, url)
            }
            Some((names, addresses)) => {
                let internet = self.world.internet();
                let url = format!("https://{}{path}", names[0]);
                options.names.clone_from(&names);
                let receiver = (internet.outside().run(Receiver::bind(options)))
                    .expect("there is a free port");
                internet.lead(&addresses, receiver.addr());
                for name in names {
                    let says = Says::Addresses(addresses.clone());
                    internet.names().say(&name, says);
                }
                (receiver, url)
            }
        };
        Inbox {
            url,
            name: self.name,
            secret: self.secret,
            receiver,
        }
    }
}

fn judge(refusals: HashMap<String, u32>, answer: &Answer) -> Judge {
    let (left, answer) = (Mutex::new(refusals), answer.clone());
    Judge::new(move |received| {
        let body = String::from_utf8_lossy(&received.body);
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut refusal = left.iter_mut().filter(|(part, _)| body.contains(&**part));
        match refusal.find(|(_, count)| **count > 0) {
            Some((_, count)) => {
                *count -= 1;
                Reply::from(Answer::status(StatusCode::INTERNAL_SERVER_ERROR))
            }
            None => Reply::from(answer.clone()),
        }
    })
}

impl Inbox {
    /// Every delivery it got so far, oldest first.
    pub fn posts(&self) -> Vec<Received> {
        let mut received = self.receiver.received();
        received.retain(|received| received.method == "POST");
        received
    }

    /// The checks it got so far.
    pub fn heads(&self) -> Vec<Received> {
        let mut received = self.receiver.received();
        received.retain(|received| received.method == "HEAD");
        received
    }

    /// How many deliveries it got so far.
    pub fn count(&self) -> usize {
        usize::try_from(self.receiver.count()).expect("they fit into memory")
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.receiver.addr().port()
    }

    /// How many connections were made to it, before any TLS.
    pub fn connections(&self) -> u64 {
        self.receiver.connections()
    }

    /// The marks of what it got so far, in order.
    #[track_caller]
    pub fn marks(&self) -> Vec<String> {
        (self.posts().iter())
            .map(|post| mark_of(&post.body))
            .collect()
    }

    /// From now on it answers like this.
    pub fn now_answers(&self, status: u16) {
        self.receiver
            .answer(Answer::status(code(status)), Vec::new());
    }

    /// Waits until it has got so many deliveries.
    #[track_caller]
    pub fn wait_for(&self, count: usize, bound: Duration) {
        wait_until(
            &format!("{} has got {count} deliveries", self.name),
            bound,
            || (self.count() >= count).then_some(()),
        );
    }

    /// It got these, byte for byte, each once, rightly signed, and nothing else.
    #[track_caller]
    pub fn assert_received_once(&self, lines: &[Line]) {
        self.assert_received(lines);
        assert_eq!(self.count(), lines.len(), "{} got some twice", self.name);
    }

    /// It got these, byte for byte, each at least once, rightly signed, and nothing else.
    #[track_caller]
    pub fn assert_received(&self, lines: &[Line]) {
        self.assert_all_verified();
        let lines: HashMap<&str, &str> = (lines.iter())
            .map(|line| (&*line.mark, &*line.text))
            .collect();
        let mut received = HashSet::new();
        for post in self.posts() {
            let mark = mark_of(&post.body);
            match lines.get(&*mark) {
                None => panic!("{} got {mark}, which is not its own", self.name),
                Some(text) => assert!(
                    post.body == text.as_bytes(),
                    "{} got other bytes than were published:\n{}\n{text}",
                    self.name,
                    String::from_utf8_lossy(&post.body)
                ),
            }
            received.insert(mark);
        }
        let missing: Vec<&&str> = (lines.keys())
            .filter(|mark| !received.contains(**mark))
            .collect();
        assert!(
            missing.is_empty(),
            "{} of {} never came to {}, such as {}",
            missing.len(),
            lines.len(),
            self.name,
            missing[0]
        );
    }

    /// Every delivery it got was signed with its secret.
    #[track_caller]
    pub fn assert_all_verified(&self) {
        for post in self.posts() {
            assert_eq!(
                post.verified,
                Some(true),
                "{} got a request that does not verify ({:?}): {:?}",
                self.name,
                post.reason,
                post.headers
            );
        }
    }
}

/// Whether this is what Mars signs with this secret.
#[must_use]
pub fn is_signed_with(post: &Received, secret: &str) -> bool {
    let secret = Secret::brought(KeyKind::Text, secret).expect("a story gives a secret");
    let headers: Vec<_> = (post.headers.iter())
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let incoming = Incoming {
        headers: &headers,
        body: &post.body,
        url: None,
        now: None,
    };
    signer::verify(&MARS, Some(&secret), &incoming).is_ok()
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("a story gives a status of HTTP")
}
