//! Certificates and checks of outgoing connections, from what a subscriber says about them.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use sluice_api::{CallbackKeyStore, CallbackTls, Problem, Secret, StoreType};

/// Makes the settings of connections.
///
/// # Errors
/// Certificates or a key that cannot be read, or do not belong together; paths are relative to `ssl`.
pub(crate) fn config(tls: &CallbackTls) -> Result<ClientConfig, Problem> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let checks = Arc::new(checks(tls, &provider)?);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid("", &error))?
        .dangerous()
        .with_custom_certificate_verifier(checks);
    match tls.key_store.as_ref().filter(|store| store.kind == StoreType::Pem) {
        None => Ok(builder.with_no_client_auth()),
        Some(store) => {
            let (chain, key) = own_certificate(store)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| invalid("keyStore", &error))
        }
    }
}

fn checks(tls: &CallbackTls, provider: &Arc<CryptoProvider>) -> Result<Checks, Problem> {
    let own = tls.trust_store.as_ref().filter(|store| store.kind == StoreType::Pem);
    let issuer: Result<Arc<dyn ServerCertVerifier>, TlsError> = match own
        .and_then(|store| store.content.as_deref())
    {
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("trustStore.content", pem)? {
                roots.add(certificate).map_err(|error| invalid("trustStore.content", &error))?;
            }
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
            Ok(built.build().map_err(|error| invalid("trustStore.content", &error))?)
        }
        None => match rustls_platform_verifier::Verifier::new(Arc::clone(provider)) {
            Ok(system) => Ok(Arc::new(system)),
            Err(error) => Err(error),
        },
    };
    Ok(Checks {
        issuer,
        any_issuer: tls.trust_all,
        any_host: !tls.hostname_verifier,
        algorithms: provider.signature_verification_algorithms,
    })
}

fn own_certificate(
    store: &CallbackKeyStore,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Problem> {
    let both = store.content.as_ref().map(Secret::expose);
    let (chain_field, chain) = match both {
        Some(both) => ("keyStore.content", both),
        None => ("keyStore.certContent", store.cert_content.as_deref().unwrap_or_default()),
    };
    let (key_field, key) = match both {
        Some(both) => ("keyStore.content", both),
        None => ("keyStore.keyContent", store.key_content.as_ref().map_or("", Secret::expose)),
    };
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| invalid(key_field, &error))?;
    Ok((certificates(chain_field, chain)?, key))
}

fn certificates(field: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match read {
        Ok(none) if none.is_empty() => Err(invalid(field, &"it holds no certificate")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(invalid(field, &error)),
    }
}

fn invalid(field: &str, error: &dyn std::fmt::Display) -> Problem {
    let message = format!("This cannot be used as PEM text: {error}.");
    Problem::new(field, "subscription.configuration.invalid", message)
}

/// Checks a server's certificate, but for what a subscriber has said to overlook: the host it is for, or who
/// signed it as well.
#[derive(Debug)]
struct Checks {
    /// Knows whom to trust. On a machine that knows no authority this says so, and only calls that need one
    /// fail by it.
    issuer: Result<Arc<dyn ServerCertVerifier>, TlsError>,
    any_issuer: bool,
    any_host: bool,
    algorithms: WebPkiSupportedAlgorithms,
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
        if self.any_issuer {
            return Ok(ServerCertVerified::assertion());
        }
        let issuer = self.issuer.as_ref().map_err(Clone::clone)?;
        // The name is judged last, so that whoever fails by it has passed everything else.
        match issuer.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
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
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_knows_no_authority_fails_only_where_one_is_needed() {
        let verdict = |any_issuer| {
            let checks = Checks {
                issuer: Err(TlsError::General("none".to_owned())),
                any_issuer,
                any_host: false,
                algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
            };
            let (certificate, name) = (CertificateDer::from(Vec::new()), ServerName::try_from("a").unwrap());
            checks.verify_server_cert(&certificate, &[], &name, &[], UnixTime::now()).is_ok()
        };
        assert!(verdict(true) && !verdict(false));
    }
}
