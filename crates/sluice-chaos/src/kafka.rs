//! A Kafka of the suite's own: one node, on ports and in a directory that it keeps over restarts.

use std::{net::TcpListener, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    fs,
    net::TcpStream,
    process::Command,
    time::{Instant, sleep},
};

use crate::{
    journal::Journal,
    process::{self, Process},
};

/// Longer than any start takes, also one beside other work.
const STARTUP: Duration = Duration::from_secs(120);
/// Longer than an end in good order takes.
const SHUTDOWN: Duration = Duration::from_secs(60);
/// Below those that the system gives to whoever asks for any: nobody takes them while Kafka is away.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Of each topic.
const PARTITIONS: &str = "3";
/// What it tells of itself, and the file that says so.
const LOGGING: (&str, &str) = (
    "log4j2.properties",
    "status = error\n\
     appender.out.type = Console\n\
     appender.out.name = out\n\
     appender.out.layout.type = PatternLayout\n\
     appender.out.layout.pattern = %d{HH:mm:ss.SSS} %-5p %m (%c{1})%n%throwable{5}\n\
     rootLogger.level = warn\n\
     rootLogger.appenderRef.out.ref = out\n",
);

/// The broker; killed when dropped.
pub(crate) struct Kafka {
    jars: PathBuf,
    directory: PathBuf,
    log: PathBuf,
    journal: Arc<Journal>,
    port: u16,
    process: Option<Process>,
}

impl Kafka {
    /// Makes its directory, starts it and makes the topics.
    pub(crate) async fn start(
        jars: PathBuf,
        directory: PathBuf,
        log: PathBuf,
        journal: &Arc<Journal>,
        topics: &[&str],
    ) -> Result<Self, String> {
        let [port, controller] = free_ports()?;
        let mut kafka = Self { jars, directory, log, journal: Arc::clone(journal), port, process: None };
        kafka.prepare(controller).await?;
        kafka.serve().await?;
        for topic in topics {
            let mut create = kafka.java();
            create.args(["org.apache.kafka.tools.TopicCommand", "--create", "--topic", topic]);
            create.args(["--partitions", PARTITIONS, "--bootstrap-server", &kafka.address()]);
            process::run(&mut create).await?;
        }
        Ok(kafka)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it, and returns when it takes connections.
    pub(crate) async fn serve(&mut self) -> Result<(), String> {
        let mut command = self.java();
        command.arg("kafka.Kafka").arg(self.directory.join("server.properties"));
        let mut process = Process::start("Kafka", command, &self.log, &self.journal).await?;
        let started = Instant::now();
        while TcpStream::connect(self.address()).await.is_err() {
            if process.has_ended().is_some() || started.elapsed() > STARTUP {
                return Err(format!("Kafka does not serve; see {}.", self.log.display()));
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.process = Some(process);
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(&mut self) -> Result<(), String> {
        if let Some(process) = self.process.take() {
            process.terminate(SHUTDOWN).await?;
        }
        Ok(())
    }

    /// Lets it stand still.
    pub(crate) async fn pause(&self) -> Result<(), String> {
        self.signal("STOP").await
    }

    /// Lets it go on.
    pub(crate) async fn go_on(&self) -> Result<(), String> {
        self.signal("CONT").await
    }

    async fn signal(&self, signal: &str) -> Result<(), String> {
        match &self.process {
            Some(process) => process.signal(signal).await,
            None => Ok(()),
        }
    }

    async fn prepare(&self, controller: u16) -> Result<(), String> {
        let failed = |error| format!("{}: {error}.", self.directory.display());
        fs::create_dir_all(&self.directory).await.map_err(failed)?;
        let settings = self.directory.join("server.properties");
        fs::write(&settings, self.properties(controller)).await.map_err(failed)?;
        fs::write(self.directory.join(LOGGING.0), LOGGING.1).await.map_err(failed)?;
        let mut format = self.java();
        format.args(["kafka.tools.StorageTool", "format", "--cluster-id", "sluice-chaos", "--config"]);
        process::run(format.arg(settings)).await
    }

    fn java(&self) -> Command {
        let mut java = process::command("java");
        // What lives for a minute starts twice as fast with the simple compiler and collector.
        java.args(["-Xms64m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        java.arg(format!("-Dlog4j2.configurationFile={}", self.directory.join(LOGGING.0).display()));
        java.arg("-classpath").arg(self.jars.join("*"));
        java
    }

    fn properties(&self, controller: u16) -> String {
        let (port, directory) = (self.port, self.directory.display());
        format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             log.dirs={directory}/data\n\
             offsets.topic.num.partitions=1\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             auto.create.topics.enable=false\n\
             group.initial.rebalance.delay.ms=0\n"
        )
    }
}

/// Two that nobody has.
fn free_ports() -> Result<[u16; 2], String> {
    // From a place of its own for each process, so that two runs at once seldom try the same.
    let first = PORTS.start + u16::try_from(std::process::id() % 6_000).unwrap_or_default() * 2;
    let candidates = (first..PORTS.end).chain(PORTS.start..first);
    // All are held until all are chosen, so that none is given out twice.
    let held: Vec<_> =
        candidates.filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).take(2).collect();
    let ports: Vec<_> = held.iter().filter_map(|held| held.local_addr().ok()).map(|at| at.port()).collect();
    ports.try_into().map_err(|_| "No two ports from 20000 to 32000 are free.".to_owned())
}
