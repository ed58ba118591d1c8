//! Programs that tests need from the system, installed with apt-get where they are missing.

use std::process::Command;

use crate::run;

/// Makes sure that each program is there; a pair names the program and the Debian package that brings it.
pub(crate) fn require(programs: &[(&str, &str)]) -> Result<(), String> {
    let missing = |(program, _): &&(&str, &str)| run::find(program).is_none();
    let packages: Vec<&str> = programs.iter().filter(missing).map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    bring(&packages)?;
    match programs.iter().find(missing) {
        None => Ok(()),
        Some((program, package)) => {
            Err(format!("The package '{package}' was installed, but there is no '{program}' on the path."))
        }
    }
}

/// Installs packages. Fails with their names where that is not possible.
pub(crate) fn bring(packages: &[&str]) -> Result<(), String> {
    eprintln!("xtask: installing {} with apt-get", packages.join(", "));
    install(packages)
        .map_err(|reason| format!("{reason}\nInstall these yourself and try again: {}.", packages.join(", ")))
}

fn install(packages: &[&str]) -> Result<(), String> {
    if run::find("apt-get").is_none() {
        return Err("There is no apt-get on this machine.".to_owned());
    }
    let is_root = run::output(Command::new("id").arg("-u"))?.trim() == "0";
    if !is_root && run::find("sudo").is_none() {
        return Err("Installing packages takes root, and there is no sudo.".to_owned());
    }
    let apt_get = |arguments: &[&str]| {
        // `-n`: sudo cannot ask for a password where there is no terminal, so it says so instead of waiting.
        let words: &[&str] = if is_root { &["apt-get"] } else { &["sudo", "-n", "apt-get"] };
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("-q").args(arguments);
        run::output(command.env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt_get(&["update"])?;
    apt_get(&[&["install", "-y", "--no-install-recommends"], packages].concat())?;
    Ok(())
}
