//! A TCP proxy between Tidemark and the broker, to do what networks do: cut, refuse, hold, delay. It
//! knows where Kafka's requests begin and end, so that it can also lose just the one that matters.

use std::{
    collections::HashSet,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    kafka::{Broker, Detour},
    wait_until,
};

/// Larger frames do not come: brokers and clients are set up for less.
const FRAME_BYTES_MAX: usize = 256 << 20;

/// Where a request has the number that its answer repeats: after the length, the kind and its version.
const REQUEST_NUMBER_AT: usize = 8;
/// Where an answer has it: after the length.
const ANSWER_NUMBER_AT: usize = 4;
/// For the broker to answer a request.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Kafka's requests, by the number that each begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request {
    Produce = 0,
    AddPartitionsToTxn = 24,
    EndTxn = 26,
    TxnOffsetCommit = 28,
}

/// What becomes of the next request of a kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// The connection is cut, and the broker never sees it.
    Lost,
    /// The broker carries it out, and the connection is cut in place of the answer.
    AnswerLost,
    /// The connection is cut; the broker sees it when [`Proxy::let_go`] is called.
    Late,
}

/// Which way bytes flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    ToBroker,
    FromBroker,
}

/// A running proxy. It lasts as long as the test process: its port belongs to the broker.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Stands before the listener that the broker has for it.
    pub fn start(broker: &Broker) -> Self {
        let Detour { entrance, exit } = broker.detour();
        let listener = entrance.try_clone().expect("a second handle");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let (accepting, exit) = (shared.clone(), *exit);
        thread::spawn(move || accept(&listener, exit, &accepting));
        Self { address, shared }
    }

    /// Where clients bootstrap.
    pub fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// Cuts all connections; clients may come back at once.
    pub fn cut(&self) {
        self.shared.cut_all();
    }

    /// Cuts all connections, and those that come until [`Self::heal`].
    pub fn refuse(&self) {
        self.shared.rules().refuse = true;
        self.shared.cut_all();
    }

    /// Keeps back all bytes that flow this way, until [`Self::heal`].
    pub fn hold(&self, way: Way) {
        self.shared.rules().held[way as usize] = true;
    }

    /// Lets every byte wait for this long, both ways.
    pub fn delay(&self, by: Duration) {
        self.shared.rules().delay = by;
    }

    /// Sets what becomes of the next request of a kind.
    pub fn meet(&self, request: Request, fate: Fate) {
        let mut rules = self.shared.rules();
        rules.trap = Some((request, fate));
    }

    /// Whether a request has met what [`Self::meet`] had set for it.
    pub fn has_met(&self) -> bool {
        self.shared.rules().trap.is_none()
    }

    /// Gives the broker the requests that are late, and waits until it has answered them.
    pub fn let_go(&self) -> usize {
        let late = std::mem::take(&mut self.shared.rules().late);
        for Late { frame, connection } in &late {
            let number = number_at(frame, REQUEST_NUMBER_AT);
            connection.state().unanswered.insert(number);
            // The broker may have closed the connection; then the request is lost after all.
            let _ = (&connection.upstream).write_all(frame);
            wait_until("the answer to a late request", ANSWER_LIMIT, || {
                let state = connection.state();
                (state.ended || !state.unanswered.contains(&number)).then_some(())
            });
        }
        late.len()
    }

    /// How many bytes have come from the broker.
    pub fn received(&self) -> u64 {
        self.shared.rules().received
    }

    /// All is well again, for connections that are there and for new ones.
    pub fn heal(&self) {
        let mut rules = self.shared.rules();
        rules.refuse = false;
        rules.held = [false; 2];
        rules.delay = Duration::ZERO;
        rules.trap = None;
        drop(rules);
        self.shared.changed.notify_all();
    }
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Rules>,
    changed: Condvar,
}

#[derive(Default)]
struct Rules {
    refuse: bool,
    held: [bool; 2],
    delay: Duration,
    trap: Option<(Request, Fate)>,
    late: Vec<Late>,
    received: u64,
    connections: Vec<Arc<Connection>>,
}

struct Late {
    frame: Vec<u8>,
    connection: Arc<Connection>,
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().expect("no thread of the proxy has panicked")
    }

    fn cut_all(&self) {
        let connections = std::mem::take(&mut self.rules().connections);
        connections.iter().for_each(|connection| connection.cut());
        self.changed.notify_all();
    }

    /// Waits while bytes of this way are held back.
    fn pass(&self, way: Way, connection: &Connection) {
        let held = |rules: &mut Rules| rules.held[way as usize] && !connection.is_cut();
        drop(self.changed.wait_while(self.rules(), held).expect("no thread of the proxy has panicked"));
    }
}

struct Connection {
    client: TcpStream,
    upstream: TcpStream,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cut: bool,
    /// Nothing more comes from the broker.
    ended: bool,
    /// Numbers of requests whose answers are not passed on.
    unanswered: HashSet<i32>,
}

impl Connection {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the proxy has panicked")
    }

    fn is_cut(&self) -> bool {
        self.state().cut
    }

    fn cut(&self) {
        self.cut_client();
        let _ = self.upstream.shutdown(Shutdown::Both);
    }

    /// The broker does not notice.
    fn cut_client(&self) {
        self.state().cut = true;
        let _ = self.client.shutdown(Shutdown::Both);
    }
}

fn accept(listener: &TcpListener, exit: u16, shared: &Arc<Shared>) {
    for client in listener.incoming().map_while(Result::ok) {
        // A broker that is down refuses, and so does the proxy.
        let Ok(upstream) = TcpStream::connect(("127.0.0.1", exit)) else { continue };
        let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
        let connection = Arc::new(Connection { client, upstream, state: Mutex::default() });
        let mut rules = shared.rules();
        if rules.refuse {
            continue;
        }
        rules.connections.retain(|connection| !connection.is_cut());
        rules.connections.push(connection.clone());
        drop(rules);
        for way in [Way::ToBroker, Way::FromBroker] {
            carry(way, &connection, shared);
        }
    }
}

/// Carries frames one way, in two threads: one takes them, the other hands them on when it is time.
fn carry(way: Way, connection: &Arc<Connection>, shared: &Arc<Shared>) {
    let (sender, receiver) = channel();
    let taking = (connection.clone(), shared.clone());
    thread::spawn(move || {
        let (connection, shared) = taking;
        // Whatever ends it ends the connection.
        let _ = take(way, &connection, &shared, &sender);
        if way == Way::FromBroker {
            connection.state().ended = true;
        }
        // Where the client was cut off before, a request may be late that the broker is to get.
        if way == Way::FromBroker || !connection.is_cut() {
            connection.cut();
        }
        shared.changed.notify_all();
    });
    let handing = (connection.clone(), shared.clone());
    thread::spawn(move || {
        let (connection, shared) = handing;
        let _ = hand_on(way, &connection, &shared, &receiver);
        connection.cut_client();
    });
}

type Frame = (Instant, Vec<u8>);

fn take(way: Way, connection: &Arc<Connection>, shared: &Shared, sender: &Sender<Frame>) -> io::Result<()> {
    let mut source = match way {
        Way::ToBroker => &connection.client,
        Way::FromBroker => &connection.upstream,
    };
    loop {
        let frame = read_frame(&mut source)?;
        let goes_on = match way {
            Way::ToBroker => meets_well(&frame, connection, shared)?,
            Way::FromBroker => {
                shared.rules().received += frame.len() as u64;
                !connection.state().unanswered.remove(&number_at(&frame, ANSWER_NUMBER_AT))
            }
        };
        if !goes_on {
            return Ok(());
        }
        let due = Instant::now() + shared.rules().delay;
        // Nobody takes it when the client was cut off; what the broker still says is read all the same.
        let _ = sender.send((due, frame));
    }
}

/// Whether the request reaches the broker and the answer its client.
fn meets_well(frame: &[u8], connection: &Arc<Connection>, shared: &Shared) -> io::Result<bool> {
    if frame.len() < REQUEST_NUMBER_AT + 4 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let kind = i16::from_be_bytes([frame[4], frame[5]]);
    let mut rules = shared.rules();
    let Some((_, fate)) = rules.trap.filter(|(request, _)| *request as i16 == kind) else { return Ok(true) };
    rules.trap = None;
    match fate {
        Fate::Lost => Ok(false),
        Fate::AnswerLost => {
            connection.state().unanswered.insert(number_at(frame, REQUEST_NUMBER_AT));
            Ok(true)
        }
        Fate::Late => {
            rules.late.push(Late { frame: frame.to_vec(), connection: connection.clone() });
            drop(rules);
            connection.cut_client();
            Ok(false)
        }
    }
}

fn hand_on(way: Way, connection: &Connection, shared: &Shared, receiver: &Receiver<Frame>) -> io::Result<()> {
    let mut target = match way {
        Way::ToBroker => &connection.upstream,
        Way::FromBroker => &connection.client,
    };
    while let Ok((due, frame)) = receiver.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        shared.pass(way, connection);
        if connection.is_cut() {
            break;
        }
        target.write_all(&frame)?;
    }
    Ok(())
}

/// A frame with its length before it: a request or an answer.
fn read_frame(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    source.read_exact(&mut frame)?;
    let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    if !(4..=FRAME_BYTES_MAX).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    frame.resize(4 + length, 0);
    source.read_exact(&mut frame[4..])?;
    Ok(frame)
}

fn number_at(frame: &[u8], at: usize) -> i32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&frame[at..at + 4]);
    i32::from_be_bytes(bytes)
}
