//! Certificates for the TLS listeners of a broker under test: an authority, a server, a client. Made anew at
//! every start, so that no private key lies in the repository and none ever expires.

use std::{fs, path::Path, process::Command};

use crate::{debian, run};

/// Writes into `directory`: `ca.pem`, `server.pem` and `client.pem` (each certificate and key in one file),
/// and `client.p12` under `password`.
pub(crate) fn make(directory: &Path, password: &str) -> Result<(), String> {
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
    for (name, subject) in [("server", "/CN=localhost"), ("client", "/CN=sluice-test-client")] {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        let own = ["-subj", subject, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
        let files = ["-keyout", &key, "-out", &certificate];
        openssl(&[&request[..], &by_authority, &own, &files].concat())?;
        join(directory, &[&key, &certificate], &format!("{name}.pem"))?;
    }
    let password = format!("pass:{password}");
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
