//! The chaos suite as a program; `cargo xtask chaos` runs it with what it needs.

use std::process::ExitCode;

use clap::Parser;
use sluice_chaos::Options;

/// Breaks everything around a gateway and shows that it loses nothing.
#[derive(Debug, Parser)]
#[command(name = "sluice-chaos")]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Arguments::parse().options;
    let logs = options.logs.clone();
    let report = match sluice_chaos::run(options).await {
        Ok(report) => report,
        Err(message) => {
            eprintln!("error: {message}\nLogs are in {}.", logs.display());
            return ExitCode::FAILURE;
        }
    };
    println!("{report}\nLogs are in {}.", logs.display());
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
