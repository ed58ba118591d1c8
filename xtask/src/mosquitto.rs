//! A real Mosquitto on free ports of 127.0.0.1, which speaks MQTT 5 and 3.1.1: one process for everything but a limit
//! on messages, which is one of a whole process and has a second.

use std::{fmt::Write as _, path::Path, process::Command};

use crate::{
    certificates::Certificates,
    debian, run,
    server::{FORBIDDEN, Launch, MAX_MESSAGE, PASSWORD, Server, USER, Variables, address, write},
};

/// What the second process takes, in bytes: more is refused in the acknowledgement of MQTT 5, and silently dropped
/// with 3.1.1.
const SMALL_MESSAGE: usize = 32 << 10;
/// The largest packet of the second process: it tells clients of MQTT 5 so, and hangs up on one that is larger.
const SMALL_PACKET: usize = 64 << 10;

/// The listeners of the first process, by what each adds to its settings.
const LISTENERS: [(&str, Kind); 6] = [
    ("SLUICE_TEST_MQTT", Kind { login: false, tls: false, certificate: false, websocket: false }),
    ("SLUICE_TEST_MQTT_LOGIN", Kind { login: true, tls: false, certificate: false, websocket: false }),
    ("SLUICE_TEST_MQTT_TLS", Kind { login: false, tls: true, certificate: false, websocket: false }),
    ("SLUICE_TEST_MQTT_MTLS", Kind { login: false, tls: true, certificate: true, websocket: false }),
    ("SLUICE_TEST_MQTT_WS", Kind { login: false, tls: false, certificate: false, websocket: true }),
    ("SLUICE_TEST_MQTT_WSS", Kind { login: false, tls: true, certificate: false, websocket: true }),
];

struct Kind {
    /// Whether it turns away who has no user name.
    login: bool,
    tls: bool,
    /// Whether it turns away who has no certificate.
    certificate: bool,
    websocket: bool,
}

/// A running Mosquitto.
pub(crate) struct Mosquitto {
    pub(crate) server: Server,
    pub(crate) small: Server,
    ports: [u16; LISTENERS.len()],
    small_port: u16,
}

impl Mosquitto {
    /// Installs what is missing, starts, and waits until it serves. `port` is for the plain listener.
    pub(crate) fn start(port: Option<u16>, certificates: &Certificates) -> Result<Self, String> {
        debian::require(&[("mosquitto", "mosquitto")])?;
        let (server, _, ports) = Server::start("Mosquitto", port, |directory, ports| {
            write_users(directory)?;
            launch(directory, &settings(directory, certificates, ports))
        })?;
        let (small, _, [small_port]) = Server::start("Mosquitto-small", None, |directory, [port]| {
            let limits = format!("message_size_limit {SMALL_MESSAGE}\nmax_packet_size {SMALL_PACKET}\n");
            launch(directory, &format!("{GENERAL}{limits}listener {port} 127.0.0.1\nallow_anonymous true\n"))
        })?;
        Ok(Self { server, small, ports, small_port })
    }

    /// What tests must know to find this broker.
    pub(crate) fn variables(&self) -> Variables {
        let listeners = LISTENERS.iter().zip(self.ports);
        let mut variables: Variables = listeners.map(|((name, _), port)| (*name, address(port))).collect();
        variables.extend([
            ("SLUICE_TEST_MQTT_SMALL", address(self.small_port)),
            ("SLUICE_TEST_MQTT_USER", USER.to_owned()),
            ("SLUICE_TEST_MQTT_PASSWORD", PASSWORD.to_owned()),
        ]);
        variables
    }
}

/// `user`: who is root stays so, because nobody else may read the directory.
const GENERAL: &str = "\
user root
persistence false
log_dest stderr
set_tcp_nodelay true
max_queued_messages 100000
";

fn launch(directory: &Path, settings: &str) -> Result<Launch, String> {
    let file = directory.join("mosquitto.conf");
    write(&file, settings)?;
    let mut command = Command::new(run::find("mosquitto").ok_or("There is no 'mosquitto' on the path.")?);
    command.arg("-c").arg(file);
    Ok(Launch { command, helper: None, ready: " running" })
}

/// Users with their passwords, and what they and nameless clients may do.
fn write_users(directory: &Path) -> Result<(), String> {
    let mut make = Command::new("mosquitto_passwd");
    make.args(["-b", "-c"]).arg(directory.join("passwords")).args([USER, PASSWORD]);
    run::output(&mut make)?;
    let rights = format!("topic deny {FORBIDDEN}/#\ntopic readwrite #\n");
    write(&directory.join("rights"), &format!("{rights}user {USER}\n{rights}"))
}

fn settings(directory: &Path, certificates: &Certificates, ports: &[u16]) -> String {
    let directory = directory.display();
    let mut text = format!("{GENERAL}per_listener_settings true\nmax_packet_size {MAX_MESSAGE}\n");
    for ((_, kind), port) in LISTENERS.iter().zip(ports) {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "listener {port} 127.0.0.1\n\
             allow_anonymous {}\n\
             password_file {directory}/passwords\n\
             acl_file {directory}/rights\n",
            !kind.login
        );
        if kind.websocket {
            text.push_str("protocol websockets\n");
        }
        if kind.tls {
            let file = |name| certificates.file(name);
            let _ = write!(
                text,
                "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate {}\n",
                file("ca.pem"),
                file("server.crt"),
                file("server.key"),
                kind.certificate
            );
        }
    }
    text
}
