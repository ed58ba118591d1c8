//! The contract that scripts rely on: flags, variables, config keys, the ready file, signals, exit codes.

use std::{fs, process::Command};

use serde_json::Value;

use crate::harness::{Sse, Starting};

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sluice")).args(arguments).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_names_every_flag_with_variable_key_and_default() {
    let text = help(&["run", "--help"]);
    let words = [
        ("--gateway-listen", "SLUICE_GATEWAY_LISTEN", "gatewayListen", "127.0.0.1:8082"),
        ("--management-listen", "SLUICE_MANAGEMENT_LISTEN", "managementListen", "127.0.0.1:8083"),
        ("--data-dir", "SLUICE_DATA_DIR", "dataDir", "./sluice-data"),
        ("--api", "SLUICE_API", "key: api", "none"),
        ("--ready-file", "SLUICE_READY_FILE", "readyFile", "none"),
        ("--log-level", "SLUICE_LOG_LEVEL", "logLevel", "info"),
        ("--log-format", "SLUICE_LOG_FORMAT", "logFormat", "text"),
    ];
    for (flag, variable, key, default) in words {
        for word in [flag, variable, key, default] {
            assert!(text.contains(word), "{word} is missing in\n{text}");
        }
    }
    assert!(help(&["--help"]).contains("dev") && help(&["--version"]).starts_with("sluice "));
}

#[tokio::test]
async fn the_ready_file_names_the_addresses_really_bound_and_goes_at_the_end() {
    let starting = Starting::run()
        .argument("--gateway-listen")
        .argument("127.0.0.1:0")
        .argument("--gateway-listen")
        .argument("127.0.0.1:0")
        .argument("--management-listen")
        .argument("127.0.0.1:0");
    let mut gateway = starting.start().await;
    assert_eq!(gateway.gateway_addresses().len(), 2);
    assert_eq!(gateway.management_addresses().len(), 1);
    for address in gateway.gateway_addresses() {
        assert_eq!(gateway.client().get(address).send().await.unwrap().status(), 404);
    }
    gateway.signal("-TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(!gateway.dir().join("ready.json").exists());
}

#[tokio::test]
async fn sigterm_and_ctrl_c_let_streams_say_goodbye_and_exit_0() {
    for signal in ["-TERM", "-INT", "-HUP"] {
        let mut gateway = Starting::dev().start().await;
        let mut stream = Sse::open(&gateway, "/demo/ticks").await;
        stream.message().await;
        gateway.signal(signal);
        let goodbye = loop {
            let event = stream.event().await.unwrap();
            if event.event.as_deref() != Some("message") {
                break event;
            }
        };
        assert_eq!(goodbye.event.as_deref(), Some("goaway"));
        assert_eq!(goodbye.data.as_deref(), Some("Stopping, please reconnect"));
        assert_eq!(stream.block().await, None, "the stream ends");
        assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log());
    }
}

#[tokio::test]
async fn every_setting_can_come_from_a_variable_or_from_the_config_file() {
    let config = "\
gatewayListen: ['127.0.0.1:0', '127.0.0.1:0']
managementListen: ['127.0.0.1:0']
adminPassword: from-the-file
logLevel: debug
logFormat: json
limits: { maxConnections: 7 }
";
    let starting =
        Starting::run().file("sluice.yaml", config).argument("--config").argument("{dir}/sluice.yaml");
    let gateway = starting.start().await;
    assert_eq!(gateway.gateway_addresses().len(), 2);
    let first: Value = serde_json::from_str(gateway.log().lines().next().unwrap()).unwrap();
    assert!(first["level"].is_string());
    let (client, url) = (gateway.client(), gateway.management_url("/metrics"));
    let status = async |password: &str| {
        client.get(&url).basic_auth("admin", Some(password)).send().await.unwrap().status()
    };
    assert_eq!(status("from-the-file").await, 200);
    assert_eq!(status("admin").await, 401);

    let starting = Starting::run()
        .variable("SLUICE_GATEWAY_LISTEN", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0")
        .variable("SLUICE_MANAGEMENT_LISTEN", "127.0.0.1:0")
        .variable("SLUICE_LOG_LEVEL", "error");
    let gateway = starting.start().await;
    assert_eq!(gateway.gateway_addresses().len(), 3);
    assert_eq!(gateway.log(), "");
}

#[tokio::test]
async fn the_admin_password_can_be_an_argon2_hash() {
    let hashed = Command::new("sh")
        .args(["-c", "printf 'correct horse\\n' | \"$0\" hash-password", env!("CARGO_BIN_EXE_sluice")])
        .output()
        .unwrap();
    let hash = String::from_utf8(hashed.stdout).unwrap().trim().to_owned();
    assert!(hash.starts_with("$argon2id$"), "{hash}");
    let gateway = Starting::run().variable("SLUICE_ADMIN_PASSWORD", &hash).start().await;
    for (password, expected) in
        [("correct horse", 200), ("wrong", 401), (&*hash, 401), ("correct horse", 200)]
    {
        let url = gateway.management_url("/metrics");
        let answer = gateway.client().get(url).basic_auth("admin", Some(password)).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{password}");
    }
}

/// Starts what must not start, and gives what it says.
fn refused(starting: &Starting) -> String {
    let output = starting.output();
    assert!(!output.status.success());
    assert!(!starting.path().join("ready.json").exists());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_default_password_is_refused_where_others_can_connect() {
    let open = Starting::run().argument("--management-listen").argument("0.0.0.0:0");
    let said = refused(&open);
    assert!(said.contains("0.0.0.0:0") && said.contains("SLUICE_ADMIN_PASSWORD"), "{said}");
    assert!(!open.path().join("data").exists(), "nothing was touched");
}

#[test]
fn a_faulty_config_file_is_refused_with_the_place() {
    let with = |content: &str| {
        refused(&Starting::run().file("c.yaml", content).argument("--config").argument("{dir}/c.yaml"))
    };
    let unknown = with("limits: { maxConnektions: 1 }\n");
    assert!(unknown.contains("limits") && unknown.contains("maxConnektions"), "{unknown}");
    let broken = with("dataDir: x\n  api: [\n");
    assert!(broken.contains("line 2"), "{broken}");
    let range = with("limits: { maxHeaderBytes: 1, ringMessages: 0 }\n");
    assert!(range.contains("limits.maxHeaderBytes") && range.contains("limits.ringMessages"), "{range}");
    let most = with("embeddedLog: { maxMessageBytes: 1073741825 }\n");
    assert!(most.contains("embeddedLog.maxMessageBytes: must be from 1 to 1073741824"), "{most}");
    let missing = refused(&Starting::run().argument("--config").argument("{dir}/none.yaml"));
    assert!(missing.contains("none.yaml"), "{missing}");
}

#[tokio::test]
async fn a_second_gateway_is_refused_on_a_taken_address_and_on_a_taken_data_directory() {
    let gateway = Starting::run().start().await;
    let address = gateway.url("").replace("http://", "");
    let said = refused(&Starting::run().argument("--gateway-listen").argument(&address));
    assert!(said.contains("--gateway-listen") && said.contains(&address), "{said}");
    let data_dir = gateway.dir().join("data");
    let said = refused(&Starting::run().argument("--data-dir").argument(data_dir.to_str().unwrap()));
    assert!(said.contains("is in use by another process"), "{said}");
}

#[test]
fn a_definition_path_that_does_not_exist_is_refused() {
    let said = refused(&Starting::run().argument("--api").argument("{dir}/nowhere"));
    assert!(said.contains("--api") && said.contains("nowhere"), "{said}");
}

#[tokio::test]
async fn secrets_of_the_data_directory_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let gateway = Starting::run().start().await;
    let key = fs::metadata(gateway.dir().join("data/secret.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}
