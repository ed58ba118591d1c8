//! A real Apache Kafka on free ports of 127.0.0.1: one node, broker and controller in one (KRaft), everything
//! it writes in a directory that goes with it.

use std::{
    fs::{self, File},
    io::{Read, Seek},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{certificates, debian, kafka_jars, run, supervised::Supervised};

const USER: &str = "sluice";
const PASSWORD: &str = "sluice-test-password";
/// The line by which Kafka says that it serves requests.
const READY: &str = "Kafka Server started";
const STARTUP: Duration = Duration::from_secs(120);
const OLDEST_JAVA: u32 = 17;
/// How often other ports are tried when somebody else took one between choosing and using it.
const ATTEMPTS: u32 = 3;

/// Names of the listeners: security protocol each, then the one for the controller.
const LISTENERS: [(&str, &str); 6] = [
    ("PLAINTEXT", "PLAINTEXT"),
    ("SASL_PLAINTEXT", "SASL_PLAINTEXT"),
    ("SSL", "SSL"),
    ("SASL_SSL", "SASL_SSL"),
    ("MTLS", "SSL"),
    ("CONTROLLER", "PLAINTEXT"),
];

/// A running Kafka; dropping it stops it and removes what it wrote.
pub(crate) struct Kafka {
    process: Supervised,
    jars: PathBuf,
    directory: PathBuf,
    /// Held open, because after an early end the supervisor removes the file.
    log: File,
    ports: [u16; LISTENERS.len()],
}

impl Kafka {
    /// Fetches what is missing, starts, and waits until it serves. `port` is for the plain listener.
    pub(crate) fn start(port: Option<u16>) -> Result<Self, String> {
        require_java()?;
        let jars = kafka_jars::directory()?;
        let started = Instant::now();
        let mut attempt = 1;
        loop {
            match Self::start_once(&jars, port) {
                Ok(kafka) => {
                    eprintln!("xtask: Kafka serves at {} after {:.1?}", kafka.address(0), started.elapsed());
                    return Ok(kafka);
                }
                Err(message) if attempt < ATTEMPTS && message.contains("Address already in use") => {
                    attempt += 1;
                }
                Err(message) => return Err(message),
            }
        }
    }

    fn start_once(jars: &Path, port: Option<u16>) -> Result<Self, String> {
        let ports = free_ports(port)?;
        let directory = make_directory()?;
        let started =
            prepare(jars, &directory, &ports).and_then(|settings| launch(jars, &directory, &settings));
        match started {
            Ok((process, log)) => {
                let jars = jars.to_owned();
                Self { process, jars, directory, log, ports }.until_ready()
            }
            Err(message) => {
                // Nobody supervises the directory yet; what cannot be removed is left to the system's tidying.
                let _ = fs::remove_dir_all(&directory);
                Err(message)
            }
        }
    }

    fn until_ready(mut self) -> Result<Self, String> {
        let started = Instant::now();
        loop {
            if self.read_log().contains(READY) {
                return Ok(self);
            }
            if self.process.has_ended() {
                return Err(self.ended());
            }
            if started.elapsed() > STARTUP {
                return Err(format!("Kafka did not serve within {STARTUP:?}. {}", self.last_words()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What tests must know to find this broker.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let file = |name| self.directory.join(name).display().to_string();
        vec![
            ("SLUICE_TEST_KAFKA", self.address(0)),
            ("SLUICE_TEST_KAFKA_SASL", self.address(1)),
            ("SLUICE_TEST_KAFKA_SSL", self.address(2)),
            ("SLUICE_TEST_KAFKA_SASL_SSL", self.address(3)),
            ("SLUICE_TEST_KAFKA_MTLS", self.address(4)),
            ("SLUICE_TEST_KAFKA_USER", USER.to_owned()),
            ("SLUICE_TEST_KAFKA_PASSWORD", PASSWORD.to_owned()),
            ("SLUICE_TEST_KAFKA_CA", file("ca.pem")),
            ("SLUICE_TEST_KAFKA_CLIENT_PEM", file("client.pem")),
            ("SLUICE_TEST_KAFKA_CLIENT_P12", file("client.p12")),
        ]
    }

    /// Where it listens without encryption and credentials.
    pub(crate) fn plain_address(&self) -> String {
        self.address(0)
    }

    /// Makes a topic of one partition.
    pub(crate) fn make_topic(&self, name: &str) -> Result<(), String> {
        let mut create = java(&self.jars);
        create.args(["org.apache.kafka.tools.TopicCommand", "--create", "--topic", name]);
        create.args(["--bootstrap-server", &self.plain_address()]);
        run::output(&mut create).map(drop)
    }

    /// Waits for an end that nobody asked for, and says how it came.
    pub(crate) fn wait_for_end(&mut self) -> String {
        match self.process.wait() {
            Ok(_) => self.ended(),
            Err(message) => message,
        }
    }

    fn address(&self, listener: usize) -> String {
        format!("127.0.0.1:{}", self.ports[listener])
    }

    fn ended(&self) -> String {
        format!("Kafka ended by itself. {}", self.last_words())
    }

    fn last_words(&self) -> String {
        format!("The end of its log:\n{}", run::tail(&self.read_log()))
    }

    fn read_log(&self) -> String {
        let mut text = Vec::new();
        let mut log = &self.log;
        match log.rewind().and_then(|()| log.read_to_end(&mut text)) {
            Ok(_) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("(the log cannot be read: {error})"),
        }
    }
}

/// Makes sure that there is a Java that Kafka runs on.
pub(crate) fn require_java() -> Result<(), String> {
    debian::require(&[("java", "default-jre-headless")])?;
    let text = run::output(Command::new("java").arg("-version"))?;
    // `openjdk version "17.0.15" 2025-04-15`
    let version =
        text.split('"').nth(1).and_then(|version| version.split(['.', '-']).next()?.parse::<u32>().ok());
    match version {
        Some(version) if version >= OLDEST_JAVA => Ok(()),
        _ => Err(format!(
            "Kafka needs Java {OLDEST_JAVA} or newer; `java -version` says:\n{}",
            run::tail(&text)
        )),
    }
}

fn free_ports(first: Option<u16>) -> Result<[u16; LISTENERS.len()], String> {
    // All are held until all are chosen, so that none is given out twice.
    let mut held = Vec::new();
    let mut ports = [0; LISTENERS.len()];
    for (index, port) in ports.iter_mut().enumerate() {
        let wanted = first.filter(|_| index == 0).unwrap_or(0);
        let unavailable = |error| format!("Port {wanted} of 127.0.0.1 is not to be had: {error}.");
        let listener = TcpListener::bind(("127.0.0.1", wanted)).map_err(unavailable)?;
        *port = listener.local_addr().map_err(unavailable)?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn make_directory() -> Result<PathBuf, String> {
    let directory =
        run::output(Command::new("mktemp").args(["--directory", "--tmpdir", "sluice-kafka-XXXXXX"]))?;
    Ok(directory.trim_end().into())
}

/// Everything Kafka finds when it starts: certificates, settings, formatted storage with its users.
fn prepare(jars: &Path, directory: &Path, ports: &[u16]) -> Result<PathBuf, String> {
    certificates::make(directory, PASSWORD)?;
    let settings = directory.join("server.properties");
    fs::write(&settings, server_properties(directory, ports))
        .map_err(|error| format!("{} cannot be written: {error}.", settings.display()))?;
    let mut format = java(jars);
    format
        .args(["kafka.tools.StorageTool", "format", "--cluster-id", "sluice-test", "--config"])
        .arg(&settings);
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        format.arg("--add-scram").arg(format!("{mechanism}=[name={USER},password={PASSWORD}]"));
    }
    run::output(&mut format)?;
    Ok(settings)
}

fn launch(jars: &Path, directory: &Path, settings: &Path) -> Result<(Supervised, File), String> {
    let path = directory.join("kafka.log");
    let failed = |error| format!("{} cannot be made: {error}.", path.display());
    let output = File::create(&path).map_err(failed)?;
    let log = File::open(&path).map_err(failed)?;
    let mut kafka = java(jars);
    kafka.arg("kafka.Kafka").arg(settings);
    Ok((Supervised::start(&kafka, Some(output), Some(directory))?, log))
}

fn java(jars: &Path) -> Command {
    let mut java = Command::new("java");
    // What lives for a minute starts twice as fast with the simple compiler and collector.
    java.args(["-Xms64m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    let logging = run::root().join("xtask/kafka/log4j2.properties");
    java.arg(format!("-Dlog4j2.configurationFile={}", logging.display()));
    java.arg("-classpath").arg(jars.join("*"));
    java
}

fn server_properties(directory: &Path, ports: &[u16]) -> String {
    let join = |entries: Vec<String>| entries.join(",");
    let listeners: Vec<String> =
        LISTENERS.iter().zip(ports).map(|((name, _), port)| format!("{name}://127.0.0.1:{port}")).collect();
    let protocols = LISTENERS.iter().map(|(name, protocol)| format!("{name}:{protocol}")).collect();
    let (controller, directory) = (ports[LISTENERS.len() - 1], directory.display());
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners={}\n\
         advertised.listeners={}\n\
         listener.security.protocol.map={}\n\
         inter.broker.listener.name=PLAINTEXT\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
         ssl.keystore.type=PEM\n\
         ssl.keystore.location={directory}/server.pem\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.location={directory}/ca.pem\n\
         listener.name.mtls.ssl.client.auth=required\n\
         log.dirs={directory}/data\n\
         num.partitions=1\n\
         offsets.topic.num.partitions=1\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         auto.create.topics.enable=false\n\
         group.initial.rebalance.delay.ms=0\n",
        join(listeners.clone()),
        join(listeners[..LISTENERS.len() - 1].to_vec()),
        join(protocols),
    );
    let module = "org.apache.kafka.common.security";
    for listener in ["sasl_plaintext", "sasl_ssl"] {
        let prefix = format!("listener.name.{listener}");
        text.push_str(&format!(
            "{prefix}.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";\n\
             {prefix}.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
             {prefix}.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;\n"
        ));
    }
    text
}
