//! The wall clock of the gateway, which can be wrong: a small library in C that is loaded before the program, made
//! when it is needed. The C compiler is one that building the gateway needs anyway.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use tokio::{fs, process::Command};

use crate::process;

const SOURCE: &str = include_str!("clock.c");

/// A clock for the programs that are started with its [`variables`](Self::variables).
#[derive(Debug)]
pub(crate) struct Clock {
    library: PathBuf,
    /// By how much it is wrong.
    file: PathBuf,
}

impl Clock {
    /// Makes the library in this directory.
    pub(crate) async fn make(directory: &Path) -> Result<Self, String> {
        let (source, library) = (directory.join("clock.c"), directory.join("clock.so"));
        let failed = |error| format!("{}: {error}.", source.display());
        fs::write(&source, SOURCE).await.map_err(failed)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(&source).arg("-ldl");
        process::run(&mut compiler).await?;
        let file = directory.join("clock");
        fs::write(&file, 0_i64.to_ne_bytes()).await.map_err(failed)?;
        Ok(Self { library, file })
    }

    pub(crate) fn variables(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), ("SLUICE_CHAOS_CLOCK", &self.file)]
    }

    /// From now on it is wrong by so many seconds.
    pub(crate) fn set(&self, seconds: i64) -> Result<(), String> {
        // Not emptied first: the program has the file in its memory.
        let file = File::options().write(true).open(&self.file);
        let written = file.and_then(|mut file| file.write_all(&seconds.to_ne_bytes()));
        written.map_err(|error| format!("{}: {error}.", self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[tokio::test]
    async fn a_program_sees_the_time_that_it_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::make(directory.path()).await.unwrap();
        for jump in [7200, -7200] {
            clock.set(jump).unwrap();
            let date = Command::new("date").arg("+%s").envs(clock.variables()).output().await.unwrap();
            let told: i64 = String::from_utf8(date.stdout).unwrap().trim().parse().unwrap();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
            assert!((told - now - jump).abs() < 3600, "{told} is not {jump} from {now}");
        }
    }
}
