//! A real Apache Kafka on free ports of 127.0.0.1: one node, broker and controller in one (KRaft).

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    certificates::Certificates,
    jars, run,
    server::{Launch, PASSWORD, Server, USER, Variables, address, write},
};

/// Names of the listeners: security protocol each, then the one for the controller.
const LISTENERS: [(&str, &str); 7] = [
    ("PLAINTEXT", "PLAINTEXT"),
    ("SASL_PLAINTEXT", "SASL_PLAINTEXT"),
    ("SSL", "SSL"),
    ("SASL_SSL", "SASL_SSL"),
    ("MTLS", "SSL"),
    ("OAUTH", "SASL_PLAINTEXT"),
    ("CONTROLLER", "PLAINTEXT"),
];

/// A running Kafka.
pub(crate) struct Kafka {
    pub(crate) server: Server,
    jars: PathBuf,
    ports: [u16; LISTENERS.len()],
    client: Variables,
}

impl Kafka {
    /// Fetches what is missing, starts, and waits until it serves. `port` is for the plain listener.
    pub(crate) fn start(port: Option<u16>, certificates: &Certificates) -> Result<Self, String> {
        jars::require_java()?;
        let jars = jars::KAFKA.directory()?;
        let (server, _, ports) = Server::start("Kafka", port, |directory, ports| {
            let settings = prepare(&jars, directory, certificates, ports)?;
            let mut command = java(&jars);
            command.arg("kafka.Kafka").arg(settings);
            Ok(Launch { command, helper: None, ready: "Kafka Server started" })
        })?;
        let client = vec![
            ("SLUICE_TEST_KAFKA_CA", certificates.file("ca.pem")),
            ("SLUICE_TEST_KAFKA_CLIENT_PEM", certificates.file("client.pem")),
            ("SLUICE_TEST_KAFKA_CLIENT_P12", certificates.file("client.p12")),
        ];
        Ok(Self { server, jars, ports, client })
    }

    /// What tests must know to find this broker.
    pub(crate) fn variables(&self) -> Variables {
        let mut variables = vec![
            ("SLUICE_TEST_KAFKA", address(self.ports[0])),
            ("SLUICE_TEST_KAFKA_SASL", address(self.ports[1])),
            ("SLUICE_TEST_KAFKA_SSL", address(self.ports[2])),
            ("SLUICE_TEST_KAFKA_SASL_SSL", address(self.ports[3])),
            ("SLUICE_TEST_KAFKA_MTLS", address(self.ports[4])),
            ("SLUICE_TEST_KAFKA_OAUTH", address(self.ports[5])),
            ("SLUICE_TEST_KAFKA_USER", USER.to_owned()),
            ("SLUICE_TEST_KAFKA_PASSWORD", PASSWORD.to_owned()),
            ("SLUICE_TEST_KAFKA_JARS", self.jars.display().to_string()),
        ];
        variables.extend(self.client.clone());
        variables
    }

    /// Where it listens without encryption and credentials.
    pub(crate) fn plain_address(&self) -> String {
        address(self.ports[0])
    }

    /// Makes a topic of one partition.
    pub(crate) fn make_topic(&self, name: &str) -> Result<(), String> {
        let mut create = java(&self.jars);
        create.args(["org.apache.kafka.tools.TopicCommand", "--create", "--topic", name]);
        create.args(["--bootstrap-server", &self.plain_address()]);
        run::output(&mut create).map(drop)
    }
}

/// Everything Kafka finds when it starts: settings, and formatted storage with its users.
fn prepare(
    jars: &Path,
    directory: &Path,
    certificates: &Certificates,
    ports: &[u16],
) -> Result<PathBuf, String> {
    let settings = directory.join("server.properties");
    write(&settings, &server_properties(directory, certificates, ports))?;
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

fn java(jars: &Path) -> Command {
    let mut java = jars::java(jars);
    let logging = run::root().join("xtask/kafka/log4j2.properties");
    java.arg(format!("-Dlog4j2.configurationFile={}", logging.display()));
    java
}

fn server_properties(directory: &Path, certificates: &Certificates, ports: &[u16]) -> String {
    let join = |entries: Vec<String>| entries.join(",");
    let listeners: Vec<String> =
        LISTENERS.iter().zip(ports).map(|((name, _), port)| format!("{name}://127.0.0.1:{port}")).collect();
    let protocols = LISTENERS.iter().map(|(name, protocol)| format!("{name}:{protocol}")).collect();
    let (controller, directory) = (ports[LISTENERS.len() - 1], directory.display());
    let (server, authority) = (certificates.file("server.pem"), certificates.file("ca.pem"));
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
         ssl.keystore.location={server}\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.location={authority}\n\
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
    // Takes tokens without a signature, for the scope that tests ask for, and holds clients to their end.
    let prefix = "listener.name.oauth";
    text.push_str(&format!(
        "{prefix}.sasl.enabled.mechanisms=OAUTHBEARER\n\
         {prefix}.oauthbearer.connections.max.reauth.ms=3600000\n\
         {prefix}.oauthbearer.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required \
         unsecuredLoginStringClaim_sub=\"broker\" unsecuredValidatorRequiredScope=\"kafka\";\n"
    ));
    text
}
