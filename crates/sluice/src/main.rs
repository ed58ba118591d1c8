//! The `sluice` command: reads flags, variables and the config file, and runs the gateway.
//!
//! Here, and only here, every part is known: broker drivers are wired to the gateway, the registry to the
//! management routes, the signals to the drain.

mod admin;
mod api_files;
mod brokers;
mod cli;
mod config;
mod dev;
mod dev_broker;
mod environment;
mod logging;
mod ready_file;
mod server;
mod webhook_listener;

use std::{process::ExitCode, time::Duration};

use clap::Parser;

use crate::{
    cli::{Cli, Command},
    config::Config,
};

/// Returns memory to the system and stays small under the many short allocations of HTTP.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long threads may take to end after everything was drained.
const LAST_WAIT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let (mode, options) = match Cli::parse().command {
        Command::Dev(dev) => (server::Mode::Dev(dev.broker), dev.options),
        Command::Run(options) => (server::Mode::Run, options),
        Command::HashPassword => return hash_password(),
        Command::WebhookListener(options) => return run(webhook_listener::run(options)),
    };
    let config = match Config::load(options) {
        Ok(config) => config,
        Err(faults) => return refuse(&faults.join("\n")),
    };
    if let Err(fault) = logging::start(&mode, &config) {
        return refuse(&fault);
    }
    run(server::run(mode, config))
}

/// Runs a command to its end.
fn run(command: impl Future<Output = Result<(), String>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("The threads could not be started: {error}.")),
    };
    let ended = runtime.block_on(command);
    // Whatever still waits for a broker on a thread of its own must not hold up the end.
    runtime.shutdown_timeout(LAST_WAIT);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => refuse(&fault),
    }
}

/// Says why nothing was started, where a person looks, whatever the log is set to.
fn refuse(fault: &str) -> ExitCode {
    eprintln!("sluice: {fault}");
    ExitCode::FAILURE
}

fn hash_password() -> ExitCode {
    let mut password = String::new();
    if let Err(error) = std::io::stdin().read_line(&mut password) {
        return refuse(&format!("The password could not be read: {error}."));
    }
    match sluice_management::Password::hash(password.trim_end_matches(['\r', '\n'])) {
        Ok(hash) => {
            println!("{hash}");
            ExitCode::SUCCESS
        }
        Err(fault) => refuse(&fault.to_string()),
    }
}
