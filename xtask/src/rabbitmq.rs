//! A real RabbitMQ on free ports of 127.0.0.1, which speaks AMQP 0-9-1 and 1.0 on the same ports.

use std::{fs, path::Path, process::Command};

use crate::{
    certificates::Certificates,
    debian,
    server::{FORBIDDEN, Launch, MAX_MESSAGE, PASSWORD, Server, USER, Variables, address, write},
};

/// The program that runs as whoever calls it. What Debian has on the search path runs as a user of its own, who may
/// not read a directory for temporary files.
const DEBIAN: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const PLUGINS: &str = "[rabbitmq_amqp1_0,rabbitmq_auth_mechanism_ssl].\n";

/// A running RabbitMQ, with a registry of Erlang nodes of its own.
pub(crate) struct RabbitMq {
    pub(crate) server: Server,
    /// Plain, TLS, Erlang's distribution, its registry.
    ports: [u16; 4],
}

impl RabbitMq {
    /// Installs what is missing, starts, and waits until it serves. `port` is for the plain listener.
    pub(crate) fn start(port: Option<u16>, certificates: &Certificates) -> Result<Self, String> {
        debian::require(&[("rabbitmq-server", "rabbitmq-server")])?;
        let (server, _, ports) = Server::start("RabbitMQ", port, |directory, ports| {
            prepare(directory, certificates, ports)?;
            let mut helper = Command::new("epmd");
            erlang(&mut helper, directory, ports);
            Ok(Launch {
                command: command(directory, ports),
                helper: Some(helper),
                ready: "Server startup complete",
            })
        })?;
        Ok(Self { server, ports })
    }

    /// What tests must know to find this broker.
    pub(crate) fn variables(&self) -> Variables {
        vec![
            ("SLUICE_TEST_RABBITMQ", address(self.ports[0])),
            ("SLUICE_TEST_RABBITMQ_TLS", address(self.ports[1])),
            ("SLUICE_TEST_RABBITMQ_USER", USER.to_owned()),
            ("SLUICE_TEST_RABBITMQ_PASSWORD", PASSWORD.to_owned()),
        ]
    }
}

fn prepare(directory: &Path, certificates: &Certificates, ports: &[u16]) -> Result<(), String> {
    write(&directory.join("plugins"), PLUGINS)?;
    let data = directory.join("data");
    fs::create_dir(&data).map_err(|error| format!("{} cannot be made: {error}.", data.display()))?;
    let file = |name| certificates.file(name);
    let (authority, certificate, key) = (file("ca.pem"), file("server.crt"), file("server.key"));
    let (plain, tls) = (address(ports[0]), address(ports[1]));
    // The name of what is never allowed must not be allowed by what is; an empty name is that of an exchange.
    let allowed = format!("^(?!{FORBIDDEN}).*");
    write(
        &directory.join("rabbitmq.conf"),
        &format!(
            "listeners.tcp.1 = {plain}\n\
             listeners.ssl.1 = {tls}\n\
             ssl_options.cacertfile = {authority}\n\
             ssl_options.certfile = {certificate}\n\
             ssl_options.keyfile = {key}\n\
             ssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = false\n\
             auth_mechanisms.1 = PLAIN\n\
             auth_mechanisms.2 = AMQPLAIN\n\
             auth_mechanisms.3 = EXTERNAL\n\
             ssl_cert_login_from = common_name\n\
             default_user = {USER}\n\
             default_pass = {PASSWORD}\n\
             default_permissions.configure = {allowed}\n\
             default_permissions.read = {allowed}\n\
             default_permissions.write = {allowed}\n\
             max_message_size = {MAX_MESSAGE}\n\
             disk_free_limit.absolute = 100MB\n\
             log.file = false\n\
             log.console = true\n\
             log.console.level = info\n"
        ),
    )
}

fn command(directory: &Path, ports: &[u16]) -> Command {
    let program = if Path::new(DEBIAN).is_file() { DEBIAN } else { "rabbitmq-server" };
    let mut command = Command::new(program);
    erlang(&mut command, directory, ports);
    command.env("RABBITMQ_NODENAME", "sluice@localhost").env("RABBITMQ_DIST_PORT", ports[2].to_string());
    command.env("RABBITMQ_CONFIG_FILE", directory.join("rabbitmq.conf"));
    command.env("RABBITMQ_ENABLED_PLUGINS_FILE", directory.join("plugins"));
    command.env("RABBITMQ_MNESIA_BASE", directory.join("data")).env("RABBITMQ_LOG_BASE", directory);
    // No schedulers that wait busily: the tests want the processor.
    let additional = "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}";
    command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", additional);
    // Makes the script become the server, so that it is the server that is stopped.
    command.env("RUNNING_UNDER_SYSTEMD", "1").env_remove("NOTIFY_SOCKET");
    command
}

/// What Erlang's programs must know to find each other, and nobody else.
fn erlang(command: &mut Command, directory: &Path, ports: &[u16]) {
    command.env("HOME", directory).env("ERL_EPMD_ADDRESS", "127.0.0.1");
    command.env("ERL_EPMD_PORT", ports[3].to_string());
}
