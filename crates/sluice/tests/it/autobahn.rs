//! The Autobahn cases against the WebSocket receiver, through the embedded log: all of the short groups, some of
//! the long ones. `cargo xtask autobahn` runs the rest.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Starting, tool};

/// Frames, pings, reserved bits, opcodes, fragments, UTF-8, closing, fragmentation by the server: whole groups.
/// Sizes up to a mebibyte, and compression with and without its own window: slices.
const CASES: [&str; 19] = [
    "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*", "9.1.3", "9.2.3", "9.3.5", "9.4.5", "9.7.1",
    "9.8.1", "12.1.1", "12.2.5", "13.1.1", "13.3.4", "13.7.5",
];

#[tokio::test]
async fn the_short_groups_and_some_of_the_long_ones_pass() {
    let settings = concat!(env!("CARGO_MANIFEST_DIR"), "/../../xtask/autobahn");
    let gateway = Starting::run()
        .argument("--config")
        .argument(&format!("{settings}/sluice.yaml"))
        .argument("--api")
        .argument(&format!("{settings}/api.yaml"))
        .start()
        .await;
    let reports = gateway.dir().join("cases");
    let mut kosoku = Command::new(tool("SLUICE_TEST_KOSOKU"));
    kosoku.args(["-p", "2"]).args(CASES.iter().flat_map(|case| ["-i", case]));
    let ended =
        kosoku.arg("-o").arg(&reports).arg(gateway.url("/echo").replacen("http", "ws", 1)).output().unwrap();
    let told = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{told}");

    let index: Value = serde_json::from_slice(&std::fs::read(reports.join("index.json")).unwrap()).unwrap();
    let cases = index.as_object().unwrap().values().next().unwrap().as_object().unwrap();
    assert!(cases.len() > 250, "{}", cases.len());
    for (case, result) in cases {
        for behavior in ["behavior", "behaviorClose"] {
            let passes = ["OK", "NON-STRICT", "INFORMATIONAL"];
            assert!(passes.contains(&result[behavior].as_str().unwrap()), "{case}: {result}\n{told}");
        }
    }
}
