//! What a run consists of.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use crate::fault::Fault;

/// The flags of the program; all that a run consists of.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Decides about the order of the faults, their length and whatever else is left to chance.
    #[arg(long)]
    pub seed: u64,

    /// Faults, one after the other. Twice all of them when neither this nor --minutes is given.
    #[arg(long, conflicts_with = "minutes")]
    pub rounds: Option<u64>,

    /// How long faults are injected.
    #[arg(long)]
    pub minutes: Option<u64>,

    /// Behind which broker.
    #[arg(long, value_enum, default_value = "both")]
    pub broker: Brokers,

    /// A fault to inject; repeatable. All of them when not given.
    #[arg(long = "fault", value_enum, value_name = "NAME")]
    pub faults: Vec<Fault>,

    /// The longest that a fault lasts, in milliseconds; the shortest is half of it.
    #[arg(long, default_value = "6000", value_name = "MS")]
    pub longest: u64,

    /// The gateway's program.
    #[arg(long, value_name = "FILE")]
    pub gateway: PathBuf,

    /// The directory of Kafka's jars.
    #[arg(long, value_name = "DIR")]
    pub kafka_jars: PathBuf,

    /// An empty directory for the data of gateway and Kafka.
    #[arg(long, value_name = "DIR")]
    pub directory: PathBuf,

    /// The directory for logs and records.
    #[arg(long, value_name = "DIR")]
    pub logs: PathBuf,
}

/// Which brokers are tested. Both are behind one gateway, at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Brokers {
    /// The embedded log.
    Log,
    /// Kafka.
    Kafka,
    /// Both.
    Both,
}

impl Options {
    /// The faults to inject: those asked for, else all, and those of Kafka only where there is one.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let all = if self.faults.is_empty() { Fault::value_variants() } else { &self.faults };
        let has_kafka = self.broker != Brokers::Log;
        all.iter().copied().filter(|fault| has_kafka || !fault.is_of_kafka()).collect()
    }

    pub(crate) const fn longest(&self) -> Duration {
        Duration::from_millis(self.longest)
    }
}
