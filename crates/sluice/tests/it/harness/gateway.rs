//! A gateway process under test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use super::until;

/// A running gateway. Killed when dropped.
pub(crate) struct Gateway {
    child: Child,
    /// Data, ready file and whatever a test puts there; shared by the processes that follow each other.
    dir: TempDir,
    gateway: Vec<String>,
    management: Vec<String>,
    admin: Vec<String>,
    client: Client,
}

/// How a gateway is to be started.
pub(crate) struct Starting {
    dir: TempDir,
    mode: &'static str,
    arguments: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

impl Starting {
    pub(crate) fn dev() -> Self {
        Self::mode("dev")
    }

    pub(crate) fn run() -> Self {
        Self::mode("run")
    }

    fn mode(mode: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, mode, arguments: Vec::new(), variables: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// `{dir}` stands for the directory of this gateway.
    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.replace("{dir}", self.dir.path().to_str().unwrap()));
        self
    }

    pub(crate) fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.replace("{dir}", self.dir.path().to_str().unwrap())));
        self
    }

    /// A config file with this content, and free ports.
    pub(crate) fn config(self, content: &str) -> Self {
        let listen = "gatewayListen: ['127.0.0.1:0']\nmanagementListen: ['127.0.0.1:0']\n";
        self.file("sluice.yaml", format!("{listen}{content}\n"))
            .argument("--config")
            .argument("{dir}/sluice.yaml")
    }

    /// One native event API, as a file that `--api` names.
    pub(crate) fn api(self, api: &Value) -> Self {
        let name = format!("apis/{}.json", api["name"].as_str().unwrap().replace(' ', "-"));
        let first = !self.dir.path().join("apis").exists();
        let with_file = self.file(&name, api.to_string());
        if first { with_file.argument("--api").argument("{dir}/apis") } else { with_file }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.arg(self.mode).args(&self.arguments);
        let names = [
            ("--gateway-listen", "SLUICE_GATEWAY_LISTEN"),
            ("--management-listen", "SLUICE_MANAGEMENT_LISTEN"),
        ];
        for (flag, variable) in names {
            let set = self.arguments.iter().any(|argument| argument == flag || argument == "--config")
                || self.variables.iter().any(|(name, _)| *name == variable);
            if !set {
                command.args([flag, "127.0.0.1:0"]);
            }
        }
        if !self.arguments.iter().any(|argument| argument == "--data-dir") {
            command.arg("--data-dir").arg(self.dir.path().join("data"));
        }
        command.arg("--ready-file").arg(self.ready_file());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }

    fn ready_file(&self) -> PathBuf {
        self.dir.path().join("ready.json")
    }

    /// Runs a gateway that is expected to end by itself.
    pub(crate) fn output(&self) -> Output {
        self.command().output().unwrap()
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(self) -> Gateway {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log.txt")).unwrap();
        let out = fs::File::create(self.dir.path().join("out.txt")).unwrap();
        let child = self.command().stdout(out).stderr(log).spawn().unwrap();
        let ready_file = self.ready_file();
        let client = Client::builder().no_proxy().build().unwrap();
        let mut gateway = Gateway {
            child,
            dir: self.dir,
            gateway: Vec::new(),
            management: Vec::new(),
            admin: Vec::new(),
            client,
        };
        until("the ready file", || {
            let ended = gateway.child.try_wait().unwrap();
            assert!(ended.is_none(), "the gateway ended with {ended:?}:\n{}", gateway.log());
            let ready = ready_file.exists();
            async move { ready }
        })
        .await;
        let ready: Value = serde_json::from_slice(&fs::read(&ready_file).unwrap()).unwrap();
        let addresses = |key: &str| {
            let addresses = ready[key].as_array().into_iter().flatten();
            addresses.map(|address| format!("http://{}", address.as_str().unwrap())).collect()
        };
        (gateway.gateway, gateway.management) = (addresses("gateway"), addresses("management"));
        gateway.admin = addresses("admin");
        gateway
    }
}

impl Gateway {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.gateway[0])
    }

    pub(crate) fn management_url(&self, path: &str) -> String {
        format!("{}{path}", self.management[0])
    }

    pub(crate) fn gateway_addresses(&self) -> &[String] {
        &self.gateway
    }

    pub(crate) fn management_addresses(&self) -> &[String] {
        &self.management
    }

    pub(crate) fn admin_addresses(&self) -> &[String] {
        &self.admin
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log.txt")).unwrap_or_default()
    }

    /// Whether this text stands in any file of the data directory.
    pub(crate) fn keeps_in_the_clear(&self, text: &str) -> bool {
        let mut directories = vec![self.dir.path().join("data")];
        while let Some(directory) = directories.pop() {
            for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    directories.push(path);
                } else if fs::read(path).unwrap().windows(text.len()).any(|found| found == text.as_bytes()) {
                    return true;
                }
            }
        }
        false
    }

    /// What it has printed for people.
    pub(crate) fn printed(&self) -> String {
        fs::read_to_string(self.dir.path().join("out.txt")).unwrap_or_default()
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        self.client.post(self.url(path)).body(body).send().await.unwrap()
    }

    /// Publishes and requires that it was acknowledged.
    pub(crate) async fn publish(&self, path: &str, body: &str) {
        let response = self.post(path, body.to_owned()).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED, "{:?}", response.text().await);
    }

    /// A request to the management API as the admin, path below the environment.
    pub(crate) fn manage(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        let base = "/management/organizations/DEFAULT/environments/DEFAULT";
        let url = self.management_url(&format!("{base}{path}"));
        self.client.request(method, url).basic_auth("admin", Some("admin"))
    }

    /// What our own management contract shows, path below its base.
    pub(crate) async fn shown(&self, path: &str) -> Value {
        let url = self.management_url(&format!("/api/v1{path}"));
        let answer = self.client.get(url).basic_auth("admin", Some("admin")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{:?}", answer.text().await);
        answer.json().await.unwrap()
    }

    /// One counter of `/metrics`, summed over its labels; 0 when it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let url = self.management_url("/metrics");
        let page = self.client.get(url).basic_auth("admin", Some("admin")).send().await.unwrap();
        let page = page.text().await.unwrap();
        let lines = page
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the process to end by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("the gateway to end", || {
            status = self.child.try_wait().unwrap();
            let ended = status.is_some();
            async move { ended }
        })
        .await;
        status.unwrap()
    }

    /// Kills it without warning and gives its directory to the next one.
    pub(crate) fn kill(mut self) -> Starting {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.successor("run")
    }

    /// Ends it by SIGTERM and gives its directory to the next one.
    pub(crate) async fn stop(mut self) -> Starting {
        self.signal("-TERM");
        let status = self.ended().await;
        assert_eq!(status.code(), Some(0), "{}", self.log());
        self.successor("run")
    }

    fn successor(mut self, mode: &'static str) -> Starting {
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        // A killed gateway leaves its ready file; the next one must not be taken for ready by it.
        let _gone = fs::remove_file(dir.path().join("ready.json"));
        let mut next = Starting { dir, mode, arguments: Vec::new(), variables: Vec::new() };
        if next.dir.path().join("apis").exists() {
            next = next.argument("--api").argument("{dir}/apis");
        }
        next
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the gateway\n{}", self.log());
        }
    }
}
