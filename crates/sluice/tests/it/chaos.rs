//! The short form of the chaos suite: every fault once, on both brokers. `cargo xtask chaos` is the long one.

use std::path::Path;

use sluice_chaos::{Brokers, Options};

use crate::harness::tool;

/// Another one is as good; this one is run each time, so that a failure can be had again.
const SEED: u64 = 4;

#[tokio::test]
async fn nothing_acknowledged_is_lost_or_out_of_order_while_everything_breaks_once() {
    let directory = tempfile::tempdir().unwrap();
    // Not with the data: who looks into a failure needs them.
    let logs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos");
    let report = sluice_chaos::run(Options {
        seed: SEED,
        rounds: Some(12),
        minutes: None,
        broker: Brokers::Both,
        faults: Vec::new(),
        longest: 2500,
        gateway: env!("CARGO_BIN_EXE_sluice").into(),
        kafka_jars: tool("SLUICE_TEST_KAFKA_JARS"),
        directory: directory.path().to_owned(),
        logs: logs.clone(),
    });
    let report = report.await.unwrap();
    println!("{report}");
    assert!(report.is_good(), "see above and {}", logs.display());
}
