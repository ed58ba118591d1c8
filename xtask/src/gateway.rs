//! The gateway as a process on free ports, for commands that look at it from outside.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Longer than any start takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a gateway is started.
pub(crate) struct Start<'a> {
    pub(crate) binary: &'a Path,
    /// For its data and its ready file.
    pub(crate) directory: &'a Path,
    /// The command and its flags, as far as they differ from one gateway to another.
    pub(crate) arguments: Vec<String>,
    /// Where it listens; with port 0 on any free one.
    pub(crate) listen: String,
}

/// An address with any free port.
pub(crate) const ANYWHERE: &str = "127.0.0.1:0";

/// A running gateway; dropping it ends it as it would in use.
pub(crate) struct Gateway {
    process: Child,
    /// `127.0.0.1:PORT` of the traffic.
    pub(crate) address: String,
    /// The same of the management API.
    pub(crate) management: String,
    pub(crate) ready_after: Duration,
    ready_file: PathBuf,
}

impl Start<'_> {
    /// Returns when it is ready.
    pub(crate) fn start(&self) -> Result<Gateway, String> {
        self.start_and(|| Ok(()))
    }

    /// The same, and does something between the start and looking whether it is ready.
    pub(crate) fn start_and(
        &self,
        meanwhile: impl FnOnce() -> Result<(), String>,
    ) -> Result<Gateway, String> {
        let ready_file = self.directory.join("ready.json");
        let begin = Instant::now();
        let process = Command::new(self.binary)
            .args(&self.arguments)
            .args(["--gateway-listen", &self.listen, "--management-listen", ANYWHERE])
            .args(["--log-level", "warn", "--data-dir"])
            .arg(self.directory.join("data"))
            .arg("--ready-file")
            .arg(&ready_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("The gateway did not start: {error}."))?;
        let mut gateway = Gateway {
            process,
            address: String::new(),
            management: String::new(),
            ready_after: Duration::ZERO,
            ready_file: ready_file.clone(),
        };
        meanwhile()?;
        while begin.elapsed() < PATIENCE {
            if let Ok(text) = fs::read_to_string(&ready_file) {
                gateway.ready_after = begin.elapsed();
                // {"gateway":["127.0.0.1:8082"],"management":["127.0.0.1:8083"]}
                let word = |number| text.split('"').nth(number).unwrap_or_default().to_owned();
                (gateway.address, gateway.management) = (word(3), word(7));
                return Ok(gateway);
            }
            thread::sleep(Duration::from_micros(200));
        }
        Err("The gateway was not ready in time.".to_owned())
    }
}

impl Gateway {
    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it without warning.
    pub(crate) fn kill(mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // As a killed process leaves it; the next start awaits a new one.
        let _ = fs::remove_file(&self.ready_file);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(Some(_))) {
            return;
        }
        // SIGTERM, so that it ends as it would in use; it removes its ready file, which the next start awaits.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}
