//! The TLS settings of a broker connection as rustls wants them, for drivers whose client library uses it.
//!
//! Files are read when a driver is opened, so that a wrong path is told when an event API is deployed and not when
//! the first message comes.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use sluice_api::{BrokerKeyStore, BrokerTls, BrokerTrustStore, Secret, StoreType};

use crate::{DriverError, ErrorKind};

/// The settings of connections to one broker.
///
/// # Errors
/// `Configuration`, with the field below `security.ssl`: a certificate or key that cannot be read, or that do not
/// belong together.
pub fn client_config(tls: &BrokerTls) -> Result<ClientConfig, DriverError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let issuer = issuer(tls.trust_store.as_ref(), &provider)?;
    let checks = Checks { issuer, any_host: !tls.hostname_verifier };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid("", &error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(checks));
    match tls.key_store.as_ref().filter(|store| store.kind == StoreType::Pem) {
        None => Ok(builder.with_no_client_auth()),
        Some(store) => {
            let (chain, key) = own_certificate(store)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| invalid("keyStore", &error))
        }
    }
}

fn issuer(
    store: Option<&BrokerTrustStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, DriverError> {
    let Some(store) = store.filter(|store| store.kind == StoreType::Pem) else {
        let system = rustls_platform_verifier::Verifier::new(Arc::clone(provider));
        return Ok(Arc::new(system.map_err(|error| invalid("trustStore", &error))?));
    };
    let pem = text("trustStore", store.path.as_deref(), store.content.as_deref())?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates("trustStore", &pem)? {
        roots.add(certificate).map_err(|error| invalid("trustStore", &error))?;
    }
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    Ok(built.map_err(|error| invalid("trustStore", &error))?)
}

fn own_certificate(
    store: &BrokerKeyStore,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), DriverError> {
    let (chain, key) = if store.path.is_some() || store.content.is_some() {
        let both = text("keyStore", store.path.as_deref(), store.content.as_ref().map(Secret::expose))?;
        (both.clone(), both)
    } else {
        let key = store.key_content.as_ref().map(Secret::expose);
        (
            text("keyStore", store.cert_path.as_deref(), store.cert_content.as_deref())?,
            text("keyStore", store.key_path.as_deref(), key)?,
        )
    };
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| invalid("keyStore", &error))?;
    Ok((certificates("keyStore", &chain)?, key))
}

/// What stands in the file, or the text that is given in its place.
fn text(field: &str, path: Option<&str>, content: Option<&str>) -> Result<String, DriverError> {
    match path {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| invalid(field, &format_args!("the file {path} cannot be read: {error}"))),
        None => Ok(content.unwrap_or_default().to_owned()),
    }
}

fn certificates(field: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, DriverError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match read {
        Ok(none) if none.is_empty() => Err(invalid(field, &"it holds no certificate")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(invalid(field, &error)),
    }
}

fn invalid(field: &str, error: &dyn std::fmt::Display) -> DriverError {
    let text = format!("security.ssl.{field} cannot be used as PEM: {error}.");
    DriverError::new(ErrorKind::Configuration, text)
}

/// Checks a broker's certificate, but for the host it is for where the settings say so.
#[derive(Debug)]
struct Checks {
    issuer: Arc<dyn ServerCertVerifier>,
    any_host: bool,
}

impl ServerCertVerifier for Checks {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        // The name is judged last, so that whoever fails by it has passed everything else.
        match self.issuer.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(TlsError::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
                if self.any_host =>
            {
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.issuer.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.issuer.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issuer.supported_verify_schemes()
    }
}
