use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::CNAME},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
};

/// The port of name servers.
const DNS: u16 = 53;

/// The longest answer in a datagram; a longer one is asked for again over TCP.
const DATAGRAM: usize = 1232;

/// A name server that says of each name what it was told last, and nothing for longer than it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    entries: Mutex<HashMap<String, Entry>>,
    connections: AtomicU64,
}

/// What the name server says of a name. Of one that it was told nothing of it says that there is none.
#[derive(Debug, Clone)]
pub enum Says {
    /// It has these addresses.
    Addresses(Vec<IpAddr>),
    /// It is another word for this one, which has these addresses.
    Alias(String, Vec<IpAddr>),
    /// `SERVFAIL`.
    Failure,
}

#[derive(Debug)]
struct Entry {
    says: Vec<Says>,
    asked: HashMap<RecordType, usize>,
}

impl Says {
    /// It has these addresses.
    #[track_caller]
    pub fn addresses<A: AsRef<str>>(addresses: impl IntoIterator<Item = A>) -> Self {
        let parsed = addresses.into_iter().map(|address| {
            let parsed = address.as_ref().parse();
            parsed.unwrap_or_else(|_| panic!("no address: {}", address.as_ref()))
        });
        Self::Addresses(parsed.collect())
    }
}

impl Names {
    /// From now on it says this of the name.
    pub fn say(&self, name: &str, says: Says) {
        self.say_in_turn(name, vec![says]);
    }

    /// From now on it says the first to who asks for the first time, and so on; the last for ever.
    pub fn say_in_turn(&self, name: &str, says: Vec<Says>) {
        let asked = HashMap::new();
        self.entries()
            .insert(name.to_owned(), Entry { says, asked });
    }

    /// How often it was asked for this name's addresses, of either kind.
    pub fn asked(&self, name: &str) -> usize {
        let entries = self.entries();
        let entry = entries.get(name);
        entry.map_or(0, |entry| entry.asked.values().sum())
    }

    /// How many connections were made to it.
    pub(super) fn connections(&self) -> u64 {
        self.0.connections.load(Relaxed)
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.entries.lock().expect("nobody panics with it")
    }

    /// Starts it at these addresses.
    pub(super) async fn serve(addresses: [IpAddr; 2]) -> Self {
        let names = Self::default();
        for address in addresses {
            let address = SocketAddr::new(address, DNS);
            let socket = UdpSocket::bind(address).await.expect("the host is new");
            tokio::spawn(names.clone().answer_datagrams(socket));
            let listener = TcpListener::bind(address).await.expect("the host is new");
            tokio::spawn(names.clone().answer_connections(listener));
        }
        names
    }

    async fn answer_datagrams(self, socket: UdpSocket) {
        let mut question = [0; DATAGRAM];
        while let Ok((length, peer)) = socket.recv_from(&mut question).await {
            let Some(mut answer) = self.answer(&question[..length]) else {
                continue;
            };
            if bytes(&answer).len() > DATAGRAM {
                answer.metadata.truncation = true;
                answer.answers.clear();
            }
            // Whoever asked may have gone.
            let _ = socket.send_to(&bytes(&answer), peer).await;
        }
    }

    async fn answer_connections(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            self.0.connections.fetch_add(1, Relaxed);
            tokio::spawn(self.clone().answer_connection(stream));
        }
    }

    /// Each message comes after its length.
    async fn answer_connection(self, mut stream: TcpStream) -> Option<()> {
        loop {
            let length = stream.read_u16().await.ok()?;
            let mut question = vec![0; usize::from(length)];
            stream.read_exact(&mut question).await.ok()?;
            let answer = bytes(&self.answer(&question)?);
            let length = u16::try_from(answer.len()).expect("a story's answer fits into a message");
            stream.write_u16(length).await.ok()?;
            stream.write_all(&answer).await.ok()?;
        }
    }

    fn answer(&self, question: &[u8]) -> Option<Message> {
        let question = Message::from_vec(question).ok()?;
        let query = question.queries.first()?.clone();
        let of = query.name().to_ascii().to_lowercase();
        let says = self.next(of.trim_end_matches('.'), query.query_type());

        let (id, code) = (question.metadata.id, question.metadata.op_code);
        let mut answer = Message::new(id, MessageType::Response, code);
        let mut add = |name: &Name, data: RData| {
            if [query.query_type(), RecordType::CNAME].contains(&data.record_type()) {
                answer.add_answer(Record::from_rdata(name.clone(), 0, data));
            }
        };
        match says {
            None => answer.metadata.response_code = ResponseCode::NXDomain,
            Some(Says::Failure) => answer.metadata.response_code = ResponseCode::ServFail,
            Some(Says::Addresses(addresses)) => {
                (addresses.into_iter()).for_each(|address| add(query.name(), address.into()));
            }
            Some(Says::Alias(other, addresses)) => {
                let other = Name::from_ascii(other).expect("a story gives a name");
                add(query.name(), RData::CNAME(CNAME(other.clone())));
                (addresses.into_iter()).for_each(|address| add(&other, address.into()));
            }
        }
        answer.add_query(query);
        Some(answer)
    }

    /// What it says to the next who asks for this.
    fn next(&self, name: &str, kind: RecordType) -> Option<Says> {
        let mut entries = self.entries();
        let entry = entries.get_mut(name)?;
        let asked = entry.asked.entry(kind).or_default();
        let says = entry.says.get(*asked).or(entry.says.last()).cloned();
        *asked += 1;
        says
    }
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().expect("a story gives what can be said")
}
