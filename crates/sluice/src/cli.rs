//! The command line. Every flag has a variable and a key in the config file; the help says all three.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use sluice_gateway::PublicUrl;

use crate::dev_broker::DevBroker;

/// Event gateway: HTTP in and out, message brokers behind.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start with example event APIs on the embedded log, or on a broker that you have, ready to try.
    Dev(DevOptions),
    /// Start with what the config file, the management API and --api say.
    Run(Options),
    /// Read a password from standard input and print the hash that SLUICE_ADMIN_PASSWORD accepts.
    HashPassword,
    /// Receive webhooks: print each request, answer as told, check signatures.
    WebhookListener(crate::webhook_listener::Options),
}

/// The one setting without a flag, since others on the machine can read flags.
const PASSWORD_HELP: &str = "\
The management user is `admin`. Its password comes from SLUICE_ADMIN_PASSWORD [key: adminPassword] [default: \
admin], plain or as a hash from `sluice hash-password`. The default is accepted only while every management \
address is a loopback address.";

/// The settings of `dev`.
#[derive(Debug, Default, Args)]
pub(crate) struct DevOptions {
    /// Broker behind the example event APIs, in place of the embedded log: kafka://HOST:PORT,
    /// mqtt://USER:PASSWORD@HOST:PORT, rabbitmq://…, amqp://… (AMQP 1.0), solace://…, each with an s at the end of
    /// its scheme for TLS, with a certificate that the system trusts. The topic is demo. [default: the embedded log]
    #[arg(long, value_name = "URL", env = "SLUICE_DEV_BROKER")]
    pub(crate) broker: Option<DevBroker>,

    #[command(flatten)]
    pub(crate) options: Options,
}

/// The settings that have a flag. A flag goes before its variable, that before the config file.
#[derive(Debug, Default, Args)]
#[command(after_help = PASSWORD_HELP)]
pub(crate) struct Options {
    /// Config file, YAML or JSON.
    #[arg(long, value_name = "FILE", env = "SLUICE_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Address for event traffic; repeatable, port 0 takes a free one.
    /// [key: gatewayListen] [default: 127.0.0.1:8082]
    #[arg(long, value_name = "ADDR", env = "SLUICE_GATEWAY_LISTEN", value_delimiter = ',')]
    pub(crate) gateway_listen: Vec<SocketAddr>,

    /// Address for the management API; repeatable, port 0 takes a free one.
    /// [key: managementListen] [default: 127.0.0.1:8083]
    #[arg(long, value_name = "ADDR", env = "SLUICE_MANAGEMENT_LISTEN", value_delimiter = ',')]
    pub(crate) management_listen: Vec<SocketAddr>,

    /// Address for health checks and counters, without a password: /health, /ready, /metrics; repeatable.
    /// [key: adminListen] [default: none]
    #[arg(long, value_name = "ADDR", env = "SLUICE_ADMIN_LISTEN", value_delimiter = ',')]
    pub(crate) admin_listen: Vec<SocketAddr>,

    /// How clients reach the gateway, as https://events.example: what a hub tells its subscribers.
    /// [key: publicUrl] [default: http and the host of each request]
    #[arg(long, value_name = "URL", env = "SLUICE_PUBLIC_URL")]
    pub(crate) public_url: Option<PublicUrl>,

    /// Directory for the embedded log and the database; made if missing.
    /// [key: dataDir] [default: ./sluice-data]
    #[arg(long, value_name = "DIR", env = "SLUICE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Event APIs to deploy: a JSON or YAML file, or a directory of them; repeatable. Changes on disk are
    /// picked up. [key: api] [default: none]
    #[arg(long, value_name = "FILE_OR_DIR", env = "SLUICE_API", value_delimiter = ',')]
    pub(crate) api: Vec<PathBuf>,

    /// File that is written, in one step, once everything is served; it names the addresses really bound.
    /// [key: readyFile] [default: none]
    #[arg(long, value_name = "FILE", env = "SLUICE_READY_FILE")]
    pub(crate) ready_file: Option<PathBuf>,

    /// Which log lines are written to standard error: error, warn, info, debug, trace, or a filter like
    /// warn,sluice_gateway=debug. [key: logLevel] [default: info, with dev: warn]
    #[arg(long, value_name = "FILTER", env = "SLUICE_LOG_LEVEL")]
    pub(crate) log_level: Option<String>,

    /// How log lines are written: text or json. [key: logFormat] [default: text]
    #[arg(long, value_name = "FORMAT", env = "SLUICE_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines, one object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_variable_and_a_help_text() {
        let command = Cli::command();
        for subcommand in command.get_subcommands() {
            for argument in subcommand.get_arguments() {
                let name = argument.get_id();
                assert!(argument.get_env().is_some(), "{name} has no variable");
                assert!(argument.get_help().is_some(), "{name} has no help text");
            }
        }
    }
}
