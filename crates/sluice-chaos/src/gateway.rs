//! The gateway: the real program, started, killed and started again on the same data directory.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    fs,
    time::{Instant, sleep},
};

use crate::{
    clock::Clock,
    journal::Journal,
    process::{self, Process},
    proxy::Proxy,
};

/// Longer than any start takes.
const STARTUP: Duration = Duration::from_secs(60);
/// `limits.drainTimeoutMs` and something more.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// Short times and little memory, so that a run of a minute meets what otherwise takes hours.
const SETTINGS: &str = "\
gatewayListen: ['127.0.0.1:0']
managementListen: ['127.0.0.1:0']
limits:
  publishTimeoutMs: 3000
  openTimeoutMs: 3000
  drainTimeoutMs: 5000
  lingerMs: 1000
  ringMessages: 256
webhooks:
  allow: ['127.0.0.0/8']
  longestWaitMs: 2000
";

/// How a gateway is started.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) binary: PathBuf,
    /// For its data, its settings and its APIs.
    pub(crate) directory: PathBuf,
    pub(crate) log: PathBuf,
    /// Whether its clock is to be changed.
    pub(crate) uses_clock: bool,
}

/// The gateway; killed when dropped.
pub(crate) struct Gateway {
    setup: Setup,
    journal: Arc<Journal>,
    /// What clients come through, and what leads to the process of the moment.
    pub(crate) proxy: Proxy,
    /// Where the management API of the process of the moment is.
    pub(crate) management: Option<SocketAddr>,
    process: Option<Process>,
    clock: Option<Clock>,
}

impl Gateway {
    /// Writes its settings; it is not started yet.
    pub(crate) async fn new(setup: Setup, journal: &Arc<Journal>) -> Result<Self, String> {
        let failed = |error| format!("{}: {error}.", setup.directory.display());
        fs::create_dir_all(setup.directory.join("apis")).await.map_err(failed)?;
        fs::write(setup.directory.join("sluice.yaml"), SETTINGS).await.map_err(failed)?;
        let proxy = Proxy::start().await?;
        let clock = if setup.uses_clock { Some(Clock::make(&setup.directory).await?) } else { None };
        Ok(Self { setup, journal: Arc::clone(journal), proxy, management: None, process: None, clock })
    }

    /// A file among those that its APIs are read from.
    pub(crate) fn api_file(&self, name: &str) -> PathBuf {
        self.setup.directory.join("apis").join(name)
    }

    /// Starts it, and returns when it says that it is ready.
    pub(crate) async fn start(&mut self) -> Result<(), String> {
        let ready = self.setup.directory.join("ready.json");
        // One that was killed has left it.
        let _removed = fs::remove_file(&ready).await;
        let command = self.command(&ready);
        let mut process = Process::start("The gateway", command, &self.setup.log, &self.journal).await?;
        let started = Instant::now();
        while !ready.exists() {
            if let Some(status) = process.has_ended() {
                return Err(format!(
                    "The gateway does not start ({status}); see {}.",
                    self.setup.log.display()
                ));
            }
            if started.elapsed() > STARTUP {
                return Err(format!("The gateway is not ready after {STARTUP:?}."));
            }
            sleep(Duration::from_millis(1)).await;
        }
        let (traffic, management) = addresses(&ready).await?;
        self.proxy.lead_to(traffic);
        self.management = Some(management);
        self.process = Some(process);
        Ok(())
    }

    fn command(&self, ready: &Path) -> tokio::process::Command {
        let directory = &self.setup.directory;
        let mut command = process::command("sh");
        // Where a file may not grow any more, the default is that the process ends. A full disk ends nobody.
        command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(&self.setup.binary).arg("run");
        command.arg("--config").arg(directory.join("sluice.yaml")).arg("--api").arg(directory.join("apis"));
        command.arg("--data-dir").arg(directory.join("data")).arg("--ready-file").arg(ready);
        command.env("SLUICE_LOG_LEVEL", std::env::var("SLUICE_LOG_LEVEL").unwrap_or_else(|_| "info".into()));
        command.envs(self.clock.iter().flat_map(Clock::variables));
        command
    }

    /// Kills it. It is started again by [`start`](Self::start).
    pub(crate) async fn kill(&mut self) -> Result<(), String> {
        match self.process.take() {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Asks it to end and waits until it has, which has to be soon and with success.
    pub(crate) async fn terminate(&mut self) -> Result<(), String> {
        let Some(process) = self.process.take() else { return Ok(()) };
        match process.terminate(SHUTDOWN).await? {
            Some(status) if status.success() => {}
            Some(status) => self.journal.fault(&format!("The gateway ended with {status} after SIGTERM.")),
            None => self.journal.fault(&format!("The gateway did not end within {SHUTDOWN:?} of SIGTERM.")),
        }
        Ok(())
    }

    /// Whether it has ended although nobody asked it to.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut()?.has_ended()
    }

    /// Lets every write to a file fail, or succeed again.
    pub(crate) async fn fill_disk(&self, full: bool) -> Result<(), String> {
        match &self.process {
            Some(process) => process.limit_files(full.then_some(1)).await,
            None => Ok(()),
        }
    }

    /// Lets its wall clock jump to where it is wrong by so many seconds. Other clocks go on as they do.
    pub(crate) fn set_clock(&self, seconds: i64) -> Result<(), String> {
        self.clock.as_ref().map_or(Ok(()), |clock| clock.set(seconds))
    }
}

async fn addresses(ready: &Path) -> Result<(SocketAddr, SocketAddr), String> {
    let text = fs::read_to_string(ready).await.map_err(|error| format!("{}: {error}.", ready.display()))?;
    let ready: Value = serde_json::from_str(&text).unwrap_or_default();
    let address = |key: &str| ready[key][0].as_str()?.parse().ok();
    address("gateway").zip(address("management")).ok_or_else(|| format!("Not a ready file: {text}"))
}
