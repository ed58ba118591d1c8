//! A broker as a process of its own: on free ports of 127.0.0.1, everything it writes in a directory that goes with
//! it, ready when its log says so.

use std::{
    fs::{self, File},
    io::{Read, Seek},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{run, supervised::Supervised};

const STARTUP: Duration = Duration::from_secs(120);
/// How often other ports are tried when somebody else took one between choosing and using it.
const ATTEMPTS: u32 = 3;
/// What the brokers write where a port is taken: Java's words and C's, then Erlang's.
const TAKEN: [&str; 2] = ["Address already in use", "eaddrinuse"];

/// The user that every broker knows, and the common name of the client's certificate.
pub(crate) const USER: &str = "sluice";
pub(crate) const PASSWORD: &str = "sluice-test-password";
/// Topics, addresses and queues whose name starts with this are not for [`USER`].
pub(crate) const FORBIDDEN: &str = "forbidden";
/// The most that brokers with such a limit take, in bytes.
pub(crate) const MAX_MESSAGE: usize = 2 << 20;

/// What a test finds in its environment: names and values.
pub(crate) type Variables = Vec<(&'static str, String)>;

/// How to start a broker.
pub(crate) struct Launch {
    pub(crate) command: Command,
    /// What must run as well, for as long as the broker does.
    pub(crate) helper: Option<Command>,
    /// The words in its log by which it says that it serves requests.
    pub(crate) ready: &'static str,
}

/// A running broker; dropping it stops it and removes what it wrote.
pub(crate) struct Server {
    name: &'static str,
    process: Supervised,
    _helper: Option<Supervised>,
    /// Held open, because after an early end the supervisor removes the file.
    log: File,
}

impl Server {
    /// Starts a broker with so many free ports, the first of them this one where it is given, and waits until it
    /// serves. `prepare` writes what it finds at its start into the directory.
    pub(crate) fn start<const PORTS: usize>(
        name: &'static str,
        first: Option<u16>,
        prepare: impl Fn(&Path, &[u16; PORTS]) -> Result<Launch, String>,
    ) -> Result<(Self, PathBuf, [u16; PORTS]), String> {
        let started = Instant::now();
        let mut attempt = 1;
        loop {
            let ports = free_ports(first)?;
            let directory = make_directory(&name.to_lowercase())?;
            match Self::start_once(name, &directory, || prepare(&directory, &ports)) {
                Ok(server) => {
                    eprintln!(
                        "xtask: {name} serves at 127.0.0.1:{} after {:.1?}",
                        ports[0],
                        started.elapsed()
                    );
                    return Ok((server, directory, ports));
                }
                Err(message) if attempt < ATTEMPTS && TAKEN.iter().any(|taken| message.contains(taken)) => {
                    attempt += 1;
                }
                Err(message) => return Err(message),
            }
        }
    }

    fn start_once(
        name: &'static str,
        directory: &Path,
        prepare: impl Fn() -> Result<Launch, String>,
    ) -> Result<Self, String> {
        let launched = prepare().and_then(|launch| {
            let helper = launch
                .helper
                .as_ref()
                .map(|helper| Supervised::start(helper, Some(log(directory, "helper.log")?.0), None));
            let (output, log) = log(directory, "server.log")?;
            let process = Supervised::start(&launch.command, Some(output), Some(directory))?;
            Ok((Self { name, process, _helper: helper.transpose()?, log }, launch.ready))
        });
        match launched {
            Ok((server, ready)) => server.until_ready(ready),
            Err(message) => {
                // Nobody supervises the directory yet; what cannot be removed is left to the system's tidying.
                let _ = fs::remove_dir_all(directory);
                Err(message)
            }
        }
    }

    fn until_ready(mut self, ready: &str) -> Result<Self, String> {
        let started = Instant::now();
        loop {
            if self.read_log().contains(ready) {
                return Ok(self);
            }
            if self.has_ended() {
                return Err(self.ended());
            }
            if started.elapsed() > STARTUP {
                return Err(format!("{} did not serve within {STARTUP:?}. {}", self.name, self.last_words()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it has ended, which nobody asked for.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    /// Says that it ended, and with which words.
    pub(crate) fn ended(&self) -> String {
        format!("{} ended by itself. {}", self.name, self.last_words())
    }

    fn last_words(&self) -> String {
        format!("The end of its log:\n{}", run::tail(&self.read_log()))
    }

    fn read_log(&self) -> String {
        let mut text = Vec::new();
        let mut log = &self.log;
        match log.rewind().and_then(|()| log.read_to_end(&mut text)) {
            Ok(_) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("(the log cannot be read: {error})"),
        }
    }
}

/// As tests are told it.
pub(crate) fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Writes a file that a broker finds when it starts.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{} cannot be written: {error}.", path.display()))
}

/// A new directory for temporary files, which somebody has to remove.
pub(crate) fn make_directory(name: &str) -> Result<PathBuf, String> {
    let template = format!("sluice-{name}-XXXXXX");
    let directory = run::output(Command::new("mktemp").args(["--directory", "--tmpdir", &template]))?;
    Ok(directory.trim_end().into())
}

/// A file to write to, and the same to read from.
fn log(directory: &Path, name: &str) -> Result<(File, File), String> {
    let path = directory.join(name);
    let failed = |error| format!("{} cannot be made: {error}.", path.display());
    Ok((File::create(&path).map_err(failed)?, File::open(&path).map_err(failed)?))
}

fn free_ports<const PORTS: usize>(first: Option<u16>) -> Result<[u16; PORTS], String> {
    // All are held until all are chosen, so that none is given out twice.
    let mut held = Vec::new();
    let mut ports = [0; PORTS];
    for (index, port) in ports.iter_mut().enumerate() {
        let wanted = first.filter(|_| index == 0).unwrap_or(0);
        let unavailable = |error| format!("Port {wanted} of 127.0.0.1 is not to be had: {error}.");
        let listener = TcpListener::bind(("127.0.0.1", wanted)).map_err(unavailable)?;
        *port = listener.local_addr().map_err(unavailable)?.port();
        held.push(listener);
    }
    Ok(ports)
}
