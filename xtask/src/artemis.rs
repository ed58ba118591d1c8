//! A real Apache ActiveMQ Artemis on free ports of 127.0.0.1, which speaks AMQP 1.0 and MQTT.

use std::{fs, path::Path};

use crate::{
    certificates::Certificates,
    jars,
    server::{FORBIDDEN, Launch, MAX_MESSAGE, PASSWORD, Server, USER, Variables, address, write},
};

/// What a user may be allowed to do with addresses and queues.
const PERMISSIONS: [&str; 10] = [
    "send",
    "consume",
    "browse",
    "manage",
    "createAddress",
    "deleteAddress",
    "createDurableQueue",
    "deleteDurableQueue",
    "createNonDurableQueue",
    "deleteNonDurableQueue",
];

/// A running Artemis.
pub(crate) struct Artemis {
    pub(crate) server: Server,
    /// AMQP, AMQP over TLS, MQTT.
    ports: [u16; 3],
}

impl Artemis {
    /// Fetches what is missing, starts, and waits until it serves. `port` is for AMQP.
    pub(crate) fn start(port: Option<u16>, certificates: &Certificates) -> Result<Self, String> {
        jars::require_java()?;
        let jars = jars::ARTEMIS.directory()?;
        let (server, _, ports) = Server::start("Artemis", port, |directory, ports| {
            prepare(directory, certificates, ports)?;
            let mut command = jars::java(&jars);
            let login = directory.join("etc/login.config");
            command.arg(format!("-Djava.security.auth.login.config={}", login.display()));
            command.arg("org.apache.activemq.artemis.core.server.embedded.Main").arg(directory);
            Ok(Launch { command, helper: None, ready: "AMQ221007" })
        })?;
        Ok(Self { server, ports })
    }

    /// What tests must know to find this broker.
    pub(crate) fn variables(&self) -> Variables {
        vec![
            ("SLUICE_TEST_ARTEMIS_AMQP", address(self.ports[0])),
            ("SLUICE_TEST_ARTEMIS_AMQPS", address(self.ports[1])),
            ("SLUICE_TEST_ARTEMIS_MQTT", address(self.ports[2])),
            ("SLUICE_TEST_ARTEMIS_USER", USER.to_owned()),
            ("SLUICE_TEST_ARTEMIS_PASSWORD", PASSWORD.to_owned()),
        ]
    }
}

/// Everything it finds in `etc` when it starts: its settings, and who may log in with a password or a certificate.
fn prepare(directory: &Path, certificates: &Certificates, ports: &[u16; 3]) -> Result<(), String> {
    let etc = directory.join("etc");
    fs::create_dir(&etc).map_err(|error| format!("{} cannot be made: {error}.", etc.display()))?;
    write(&etc.join("broker.xml"), &broker_xml(certificates, ports))?;
    write(&etc.join("users"), &format!("{USER}={PASSWORD}\n"))?;
    write(&etc.join("certificates"), &format!("{USER}=CN={USER}\n"))?;
    write(&etc.join("roles"), &format!("user={USER}\n"))?;
    let modules = "org.apache.activemq.artemis.spi.core.security.jaas";
    write(
        &etc.join("login.config"),
        &format!(
            "sluice {{\n\
               {modules}.PropertiesLoginModule sufficient\n\
                 org.apache.activemq.jaas.properties.user=\"users\"\n\
                 org.apache.activemq.jaas.properties.role=\"roles\";\n\
               {modules}.TextFileCertificateLoginModule sufficient\n\
                 org.apache.activemq.jaas.textfiledn.user=\"certificates\"\n\
                 org.apache.activemq.jaas.textfiledn.role=\"roles\";\n\
             }};\n"
        ),
    )
}

fn broker_xml(certificates: &Certificates, [amqp, amqps, mqtt]: &[u16; 3]) -> String {
    let (server, authority) = (certificates.file("server.pem"), certificates.file("ca.pem"));
    let prefixes = "protocols=AMQP;anycastPrefix=queue://;multicastPrefix=topic://;securityDomain=sluice";
    let tls = format!(
        "sslEnabled=true;keyStoreType=PEM;keyStorePath={server};trustStoreType=PEMCA;trustStorePath={authority};\
         wantClientAuth=true;saslMechanisms=PLAIN,EXTERNAL"
    );
    let permissions = |role: &str| -> String {
        let each = |kind: &&str| format!("<permission type=\"{kind}\" roles=\"{role}\"/>\n");
        PERMISSIONS.iter().map(each).collect()
    };
    let (everything, nothing) = (permissions("user"), permissions("nobody"));
    format!(
        "<configuration xmlns=\"urn:activemq\"><core xmlns=\"urn:activemq:core\">\n\
         <name>sluice-test</name>\n\
         <journal-type>NIO</journal-type>\n\
         <journal-datasync>false</journal-datasync>\n\
         <journal-file-size>2M</journal-file-size>\n\
         <max-disk-usage>100</max-disk-usage>\n\
         <critical-analyzer>false</critical-analyzer>\n\
         <acceptors>\n\
         <acceptor name=\"amqp\">tcp://127.0.0.1:{amqp}?{prefixes}</acceptor>\n\
         <acceptor name=\"amqps\">tcp://127.0.0.1:{amqps}?{prefixes};{tls}</acceptor>\n\
         <acceptor name=\"mqtt\">tcp://127.0.0.1:{mqtt}?protocols=MQTT;maximumPacketSize={MAX_MESSAGE};\
         securityDomain=sluice</acceptor>\n\
         </acceptors>\n\
         <security-settings>\n\
         <security-setting match=\"#\">{everything}</security-setting>\n\
         <security-setting match=\"{FORBIDDEN}.#\">{nothing}</security-setting>\n\
         </security-settings>\n\
         <address-settings>\n\
         <address-setting match=\"#\"><max-delivery-attempts>-1</max-delivery-attempts></address-setting>\n\
         <address-setting match=\"fixed.#\"><auto-create-queues>false</auto-create-queues>\
         <auto-create-addresses>false</auto-create-addresses></address-setting>\n\
         <address-setting match=\"full.#\"><max-size-messages>10</max-size-messages>\
         <address-full-policy>FAIL</address-full-policy></address-setting>\n\
         </address-settings>\n\
         </core></configuration>\n"
    )
}
