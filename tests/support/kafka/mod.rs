//! A real Apache Kafka broker: one KRaft node on loopback, from Maven artifacts, on Java 17 or newer.
//!
//! The broker lives as long as the test process, however that ends, and leaves nothing behind.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};

use self::{security::Security, supervisor::Supervisor};
use super::poll_until;

mod libs;
pub mod security;
mod supervisor;

/// Set to `1` where a missing broker must fail the tests rather than skip them.
const REQUIRE: &str = "TIDEMARK_REQUIRE_KAFKA";

/// Time for the broker to answer; a cold, busy machine needs tens of seconds.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A port chosen for the broker may be taken by somebody else before the broker binds it.
const START_ATTEMPTS: u32 = 3;

/// What Kafka logs when it cannot start, or go on.
const GAVE_UP: &str = "Exiting Kafka";

/// Where brokers keep what they have, unless it is said.
const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

/// Any id will do; Kafka wants a base64 UUID.
const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";

/// What the broker is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tuning {
    /// Starts quickly and stays small: tests.
    QuickStart,
    /// Compiles what is hot and has room: benchmarks.
    Throughput,
}

impl Tuning {
    fn java_options(self) -> &'static [&'static str] {
        match self {
            Self::QuickStart => &["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"],
            // The collector of Kafka's own start script. Left to choose how much it collects at a time, it stops the
            // broker ten times as often, and each time for half as long.
            Self::Throughput => &[
                "-Xms4g",
                "-Xmx4g",
                "-Xmn3g",
                "-XX:+UseG1GC",
                "-XX:-UsePerfData",
                // As of a broker that has run for a day: its memory is all touched, and hardly anything is left to be
                // compiled (here what is left yields to everybody else).
                "-XX:+AlwaysPreTouch",
                // Else its four gigabytes are a million pages, since the JVM asks for no others by itself.
                "-XX:+UseTransparentHugePages",
                "-XX:ThreadPriorityPolicy=1",
                "-XX:CompilerThreadPriority=19",
            ],
        }
    }
}

/// Whom a broker lets in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Everybody.
    Open,
    /// Over TLS, whom it knows.
    Secured,
}

/// A running broker. Dropping it stops it.
pub struct Broker {
    bootstrap: String,
    security: Option<Security>,
    directory: PathBuf,
    namespaces: AtomicU32,
    detour: Detour,
    supervisor: Mutex<Supervisor>,
}

/// A second listener of the broker, which it advertises at a port where a proxy may listen: whoever
/// comes that way stays on it.
pub struct Detour {
    /// Where the proxy listens; taken from the start, so that nobody else gets the port.
    pub entrance: TcpListener,
    /// The port of the broker that the proxy connects to.
    pub exit: u16,
}

impl Broker {
    /// The broker that all tests of this binary share, started by the first that asks.
    ///
    /// Nothing where a broker cannot be had; then the reason was printed, and the test should return.
    ///
    /// # Panics
    /// If a broker cannot be had and `TIDEMARK_REQUIRE_KAFKA=1`.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Result<Broker, String>> = OnceLock::new();
        Self::or_skip(SHARED.get_or_init(|| Self::start(Tuning::QuickStart)))
    }

    /// Like [`Self::shared`]: one that talks TLS only, and to whom it knows; see [`Self::security`].
    pub fn secured() -> Option<&'static Self> {
        static SECURED: OnceLock<Result<Broker, String>> = OnceLock::new();
        Self::or_skip(SECURED.get_or_init(|| Self::start_in(Path::new(SCRATCH), Tuning::QuickStart, Kind::Secured)))
    }

    /// Like [`Self::shared`], with room for a lot of records, in a directory of choice.
    pub fn for_benchmarks(scratch: Option<&Path>) -> Option<&'static Self> {
        static ROOMY: OnceLock<Result<Broker, String>> = OnceLock::new();
        let scratch = scratch.unwrap_or(Path::new(SCRATCH));
        Self::or_skip(ROOMY.get_or_init(|| Self::start_in(scratch, Tuning::Throughput, Kind::Open)))
    }

    fn or_skip(started: &'static Result<Self, String>) -> Option<&'static Self> {
        match started {
            Ok(broker) => Some(broker),
            Err(reason) if std::env::var(REQUIRE).is_ok_and(|value| value == "1") => {
                panic!("{REQUIRE}=1, but there is no Kafka broker: {reason}")
            }
            Err(reason) => {
                let test = std::thread::current().name().unwrap_or("a test").to_owned();
                // Past the capture of the test harness: nobody should take a skipped test for a passed one.
                let _ = writeln!(std::io::stderr(), "SKIPPED: {test}, because there is no Kafka broker: {reason}");
                None
            }
        }
    }

    /// Starts a broker of one's own.
    ///
    /// # Errors
    /// For a person: why there is none.
    pub fn start(tuning: Tuning) -> Result<Self, String> {
        Self::start_in(Path::new(SCRATCH), tuning, Kind::Open)
    }

    fn start_in(scratch: &Path, tuning: Tuning, kind: Kind) -> Result<Self, String> {
        let java = Java { class_path: libs::class_path()?, tuning };
        let mut failure = String::new();
        for _ in 0..START_ATTEMPTS {
            let broker = Self::launch(scratch, &java, kind)?;
            match broker.await_ready() {
                Ok(()) => return Ok(broker),
                Err(reason) => failure = reason,
            }
        }
        Err(failure)
    }

    /// The broker's address, as `bootstrap.servers` wants it.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A client configuration that points to this broker.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        for (key, value) in self.security.iter().flat_map(Security::client_properties) {
            config.set(key, value);
        }
        config
    }

    /// What a client needs to be let in.
    ///
    /// # Panics
    /// If the broker is open to everybody.
    pub fn security(&self) -> &Security {
        self.security.as_ref().expect("a secured broker")
    }

    /// The beginning of a partition as it is on the broker's disk.
    pub fn segment(&self, topic: &str, partition: i32) -> Vec<u8> {
        let path = self.data().join(format!("{topic}-{partition}/00000000000000000000.log"));
        fs::read(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
    }

    /// Where the broker keeps its logs: a folder for every partition.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        let path = self.directory.join("pid");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        text.trim().parse().expect("the supervisor writes a number")
    }

    /// The listener that a proxy can stand before; open brokers have one.
    pub fn detour(&self) -> &Detour {
        &self.detour
    }

    /// Ends the broker as a crash would (SIGKILL); [`Self::restart`] brings it back.
    pub fn kill(&self) {
        self.order("kill");
    }

    /// Ends the broker in order (SIGTERM); [`Self::restart`] brings it back.
    pub fn stop(&self) {
        self.order("stop");
    }

    /// Starts the broker again, with the same data on the same ports, and waits until it answers.
    pub fn restart(&self) {
        self.order("start");
        self.await_ready().expect("the broker comes back");
    }

    fn order(&self, order: &str) {
        self.supervisor.lock().expect("no order has failed").order(order);
    }

    /// A prefix for topics, groups and transactional ids that no other test of this binary has.
    pub fn namespace(&self, test: &str) -> String {
        format!("{test}-{}", self.namespaces.fetch_add(1, Ordering::Relaxed))
    }

    fn launch(scratch: &Path, java: &Java, kind: Kind) -> Result<Self, String> {
        let scratch = tempfile::Builder::new()
            .prefix("kafka-")
            .tempdir_in(scratch)
            .map_err(|error| format!("no directory for the broker in {}: {error}", scratch.display()))?;
        let no_port = |error| format!("no free port: {error}");
        let [port, exit, certificates, controller] = free_ports().map_err(no_port)?;
        let entrance = TcpListener::bind("127.0.0.1:0").map_err(no_port)?;
        let security = match kind {
            Kind::Open => None,
            Kind::Secured => Some(Security::make(scratch.path(), format!("127.0.0.1:{certificates}"))?),
        };
        let detour = (exit, entrance.local_addr().map_err(no_port)?.port());
        let listeners = match &security {
            None => open_listeners(port, detour, controller),
            Some(security) => secured_listeners(port, controller, security),
        };
        let properties = scratch.path().join("server.properties");
        fs::write(&properties, listeners + &server_properties(scratch.path(), controller))
            .map_err(|error| format!("cannot write {}: {error}", properties.display()))?;
        java.format_storage(&properties, security.is_some())?;
        let supervisor = java.supervise(scratch.path(), &properties)?;
        Ok(Self {
            bootstrap: format!("127.0.0.1:{port}"),
            security,
            // From here on it is the supervisor that removes it.
            directory: scratch.keep(),
            namespaces: AtomicU32::new(0),
            detour: Detour { entrance, exit },
            supervisor: Mutex::new(supervisor),
        })
    }

    fn await_ready(&self) -> Result<(), String> {
        let client: BaseConsumer = self.client().create().map_err(|error| format!("no Kafka client: {error}"))?;
        let ready = poll_until(START_LIMIT, || {
            let answer = client.fetch_metadata(None, Duration::from_secs(1));
            let ready = answer.is_ok_and(|metadata| !metadata.brokers().is_empty());
            (ready || self.log().contains(GAVE_UP)).then_some(ready)
        });
        match ready {
            Some(true) => Ok(()),
            Some(false) => Err(format!("it did not start; its log:\n{}", self.log())),
            None => Err(format!("no answer within {START_LIMIT:?}; its log:\n{}", self.log())),
        }
    }

    /// What the broker itself has logged, warnings and worse.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("broker.log")).unwrap_or_default()
    }
}

/// How to run Kafka's classes.
struct Java {
    class_path: String,
    tuning: Tuning,
}

impl Java {
    fn arguments(&self, main: &str) -> Vec<String> {
        let mut arguments: Vec<String> = self.tuning.java_options().iter().map(|&option| option.to_owned()).collect();
        arguments.push("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".to_owned());
        arguments.extend(["-cp".to_owned(), self.class_path.clone(), main.to_owned()]);
        arguments
    }

    /// Writes what a KRaft node must find in its log directory before its first start.
    fn format_storage(&self, properties: &Path, secured: bool) -> Result<(), String> {
        let output = Command::new("java")
            .args(self.arguments("kafka.tools.StorageTool"))
            .args(["format", "-t", CLUSTER_ID, "-c"])
            .arg(properties)
            .args(secured.then(Security::storage_arguments).into_iter().flatten())
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("`java` cannot be started: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("Kafka's storage could not be formatted (is Java older than 17?): {}", said.trim()))
    }

    fn supervise(&self, directory: &Path, properties: &Path) -> Result<Supervisor, String> {
        let mut command = vec!["java".to_owned()];
        command.extend(self.arguments("kafka.Kafka"));
        command.push(properties.display().to_string());
        Supervisor::start(directory, &command)
    }
}

/// Ports that nobody listens on now.
fn free_ports<const N: usize>() -> std::io::Result<[u16; N]> {
    let mut ports = [0; N];
    // All are held until all are known, or two could be the same.
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn open_listeners(port: u16, (exit, entrance): (u16, u16), controller_port: u16) -> String {
    format!(
        "listeners=PLAINTEXT://127.0.0.1:{port},DETOUR://127.0.0.1:{exit},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},DETOUR://127.0.0.1:{entrance}
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,DETOUR:PLAINTEXT,CONTROLLER:PLAINTEXT
"
    )
}

/// Passwords at one port, certificates of clients at the other; the broker itself shows its own.
fn secured_listeners(port: u16, controller_port: u16, security: &Security) -> String {
    let clients = format!("SASL_SSL://127.0.0.1:{port},SSL://{}", security.certificates_at);
    format!(
        "listeners={clients},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={clients}
inter.broker.listener.name=SSL
listener.security.protocol.map=SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:PLAINTEXT
{}",
        security.server_properties()
    )
}

fn server_properties(directory: &Path, controller_port: u16) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
log.dirs={log_directory}
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# Tests write records that are years old.
log.retention.ms=-1
",
        log_directory = directory.join("data").display(),
    )
}
