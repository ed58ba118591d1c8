//! Who may log in: nobody in particular, one user, or whoever has a certificate.

use std::sync::{Arc, PoisonError};

use fe2o3_amqp::{
    acceptor::sasl_acceptor::{SaslAcceptor, SaslServerFrame},
    types::{
        primitives::{Array, Binary, Symbol},
        sasl::{SaslCode, SaslInit, SaslOutcome, SaslResponse},
    },
};

use super::State;

/// The user that may log in, and the password.
pub(crate) const USER: (&str, &str) = ("user", "password");

#[derive(Clone)]
pub(crate) struct Users {
    /// Whether the client has shown a certificate.
    pub(crate) certificate: bool,
    pub(crate) state: Arc<State>,
}

impl SaslAcceptor for Users {
    fn mechanisms(&self) -> Array<Symbol> {
        Array(["ANONYMOUS", "PLAIN", "EXTERNAL"].map(Symbol::from).to_vec())
    }

    fn on_init(&mut self, init: SaslInit) -> SaslServerFrame {
        self.state.hosts.lock().unwrap_or_else(PoisonError::into_inner).extend(init.hostname);
        let response = init.initial_response.map(Binary::into_vec).unwrap_or_default();
        let may = match init.mechanism.as_str() {
            "ANONYMOUS" => true,
            "EXTERNAL" => self.certificate,
            _ => response == format!("\0{}\0{}", USER.0, USER.1).as_bytes(),
        };
        let code = if may { SaslCode::Ok } else { SaslCode::Auth };
        SaslServerFrame::Outcome(SaslOutcome { code, additional_data: None })
    }

    fn on_response(&mut self, _response: SaslResponse) -> SaslServerFrame {
        SaslServerFrame::Outcome(SaslOutcome { code: SaslCode::Sys, additional_data: None })
    }
}
