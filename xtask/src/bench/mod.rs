//! `cargo xtask bench NAME`: figures of the shipped command as a whole process, taken from outside.
//!
//! Nothing is judged: figures are printed with their spread, for a person to compare on the same machine.

mod catch_up;
mod client;
mod drivers;
mod hub;
mod mqtt_fanout;
mod quick;
mod recovery;
mod slow;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
};

use crate::{
    gateway::{ANYWHERE, Gateway, Start},
    run,
};

/// A benchmark, which leaves what it writes in a directory.
type Benchmark = fn(&Path) -> Result<(), String>;

/// How cargo builds the command as it is shipped.
const GATEWAY: &[&str] = &["build", "--release", "--package", "sluice"];

/// The benchmarks by name, with what cargo builds for each.
const BENCHMARKS: [(&str, &[&str], Benchmark); 7] = [
    ("quick", GATEWAY, quick::measure),
    ("recovery", GATEWAY, recovery::measure),
    ("catch-up", GATEWAY, catch_up::measure),
    ("slow", GATEWAY, slow::measure),
    ("hub", GATEWAY, hub::measure),
    ("drivers", &drivers::BUILD, drivers::measure),
    ("mqtt-fanout", GATEWAY, mqtt_fanout::measure),
];

/// Builds what is measured as it is shipped, measures, prints.
pub(crate) fn run(name: &str) -> Result<ExitCode, String> {
    let Some((_, build, measure)) = BENCHMARKS.iter().find(|(known, ..)| *known == name) else {
        let names: Vec<_> = BENCHMARKS.iter().map(|(name, ..)| *name).collect();
        return Err(format!("There is no benchmark '{name}'. There are: {}.", names.join(", ")));
    };
    eprintln!("xtask: building with the release profile");
    run::output(run::cargo().args(*build))?;
    let directory = std::env::temp_dir().join(format!("sluice-bench-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}.", directory.display()))?;
    println!("{}", machine());
    let measured = measure(&directory);
    // What cannot be removed is left to the system's tidying.
    let _ = fs::remove_dir_all(&directory);
    measured.map(|()| ExitCode::SUCCESS)
}

/// The command, where the build puts it.
fn binary() -> PathBuf {
    run::target().join("release/sluice")
}

/// A gateway with this event API, in a directory of its own.
fn start_with(directory: &Path, api: &str, config: &str) -> Result<(Gateway, Vec<String>), String> {
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}.", path.display()))?;
        Ok::<_, String>(path.display().to_string())
    };
    let arguments = vec![
        "run".to_owned(),
        "--api".to_owned(),
        write("api.json", api)?,
        "--config".to_owned(),
        write("sluice.yaml", config)?,
    ];
    let gateway =
        Start { binary: &binary(), directory, arguments: arguments.clone(), listen: ANYWHERE.to_owned() }
            .start()?;
    Ok((gateway, arguments))
}

/// What the system says about the process.
impl Gateway {
    fn resident_mib(&self) -> Result<f64, String> {
        let status = self.proc_file("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0).ok_or_else(|| "No VmRSS in /proc.".to_owned())
    }

    /// Seconds of processor time used so far, in user and kernel mode.
    fn cpu_seconds(&self, ticks_per_second: f64) -> Result<f64, String> {
        let stat = self.proc_file("stat")?;
        // Fields 14 and 15; the second, a name in parentheses, may hold spaces.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
        match (field(11), field(12)) {
            (Some(user), Some(system)) => Ok((user + system) / ticks_per_second),
            _ => Err("/proc/…/stat is not as expected.".to_owned()),
        }
    }

    fn proc_file(&self, name: &str) -> Result<String, String> {
        let path = format!("/proc/{}/{name}", self.id());
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}."))
    }
}

/// Ticks in which the system counts processor time.
fn ticks_per_second() -> Result<f64, String> {
    let ticks = run::output(Command::new("getconf").arg("CLK_TCK"))?;
    ticks.trim().parse().map_err(|error| format!("getconf CLK_TCK: {error}."))
}

fn report(what: &str, unit: &str, figures: &[f64]) {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else { return };
    let median = sorted[sorted.len() / 2];
    println!("{what:<56} {median:>9.1} {unit:<11} ({min:.1} to {max:.1}, {} runs)", sorted.len());
}

/// What the figures were measured on.
fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, {}, Linux {}", model.unwrap_or("unknown processor"), kernel.trim())
}
