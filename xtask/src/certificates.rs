//! Certificates for the TLS listeners of a broker under test: an authority, a server, a client. Made anew at
//! every start, so that no private key lies in the repository and none ever expires.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    debian, run,
    server::{PASSWORD, USER, Variables, make_directory},
    supervised::Supervised,
};

/// What all brokers of one run share; dropping it removes the files.
pub(crate) struct Certificates {
    directory: PathBuf,
    /// Does nothing but end with this tool: the directory goes with it.
    _keeper: Supervised,
}

impl Certificates {
    /// Makes them anew, in a directory of their own.
    pub(crate) fn make() -> Result<Self, String> {
        let directory = make_directory("certificates")?;
        let words = directory.join("keeper.log");
        let words =
            File::create(&words).map_err(|error| format!("{} cannot be made: {error}.", words.display()))?;
        let keeper = Supervised::start(Command::new("sleep").arg("infinity"), Some(words), Some(&directory))?;
        make(&directory)?;
        Ok(Self { directory, _keeper: keeper })
    }

    /// One of `ca.pem`, `server.crt`, `server.key`, `server.pem`, `client.pem` (certificate and key in one file),
    /// and `client.p12` under [`PASSWORD`].
    pub(crate) fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// What tests must know to trust the brokers, and to be trusted.
    pub(crate) fn variables(&self) -> Variables {
        vec![
            ("SLUICE_TEST_BROKER_CA", self.file("ca.pem")),
            ("SLUICE_TEST_BROKER_CLIENT_PEM", self.file("client.pem")),
        ]
    }
}

fn make(directory: &Path) -> Result<(), String> {
    debian::require(&[("openssl", "openssl")])?;
    let openssl = |arguments: &[&str]| {
        run::output(Command::new("openssl").args(arguments).current_dir(directory)).map(drop)
    };
    let request =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
    let by_authority = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE"];

    openssl(
        &[&request[..], &["-subj", "/CN=sluice-test-authority", "-keyout", "ca.key", "-out", "ca.pem"]]
            .concat(),
    )?;
    for (name, subject) in [("server", "/CN=localhost"), ("client", &*format!("/CN={USER}"))] {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        let own = ["-subj", subject, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
        let files = ["-keyout", &key, "-out", &certificate];
        openssl(&[&request[..], &by_authority, &own, &files].concat())?;
        join(directory, &[&key, &certificate], &format!("{name}.pem"))?;
    }
    let password = format!("pass:{PASSWORD}");
    openssl(&["pkcs12", "-export", "-in", "client.pem", "-out", "client.p12", "-passout", &password])
}

fn join(directory: &Path, parts: &[&str], whole: &str) -> Result<(), String> {
    let failed = |error| format!("{whole} cannot be written in {}: {error}.", directory.display());
    let mut text = String::new();
    for part in parts {
        text.push_str(&fs::read_to_string(directory.join(part)).map_err(failed)?);
    }
    fs::write(directory.join(whole), text).map_err(failed)
}
