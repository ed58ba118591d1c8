//! Saying who one is: the SASL layer that stands before AMQP itself.
//!
//! Ours, since the library sends no identity with EXTERNAL and gives up where the broker then asks for one, as Artemis
//! does.

use bytes::BytesMut;
use fe2o3_amqp::{
    frames::sasl::{Frame, FrameCodec},
    types::{
        primitives::{Binary, Symbol},
        sasl::{SaslCode, SaslInit},
    },
};
use sluice_api::Secret;
use sluice_broker::ErrorKind;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::codec::{Decoder, Encoder};

use crate::{
    error::{Cause, no_amqp, of_io},
    stranger,
};

/// `AMQP`, the protocol SASL, version 1.0.0.
const PROTOCOL: [u8; 8] = *b"AMQP\x03\x01\x00\x00";
/// What a frame has before its body, and the most that AMQP allows one of SASL to have.
const FRAME_SIZES: std::ops::RangeInclusive<usize> = 8..=512;

/// Who the gateway is to the broker.
pub(crate) enum Login {
    /// Nobody.
    Anonymous,
    /// Whom the certificate of the connection names.
    External,
    /// A user.
    Plain { username: String, password: Option<Secret> },
}

impl Login {
    const fn mechanism(&self) -> &'static str {
        match self {
            Self::Anonymous => "ANONYMOUS",
            Self::External => "EXTERNAL",
            Self::Plain { .. } => "PLAIN",
        }
    }

    fn response(&self) -> Vec<u8> {
        match self {
            Self::Anonymous | Self::External => Vec::new(),
            Self::Plain { username, password } => {
                let password = password.as_ref().map(Secret::expose).unwrap_or_default();
                [b"\0", username.as_bytes(), b"\0", password.as_bytes()].concat()
            }
        }
    }

    /// Logs in. What follows on the stream is AMQP.
    ///
    /// # Errors
    /// `Refused` with what the broker offers or says; `Unreachable` where it speaks something else.
    pub(crate) async fn log_in<S>(&self, stream: &mut S, host: &str) -> Result<(), Cause>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        stream.write_all(&PROTOCOL).await.map_err(|error| of_io(&error))?;
        let mut answer = Vec::with_capacity(PROTOCOL.len());
        let read = (&mut *stream).take(PROTOCOL.len() as u64).read_to_end(&mut answer).await;
        if answer != PROTOCOL {
            return Err(stranger::told(&answer, read.err()));
        }
        let Frame::Mechanisms(offered) = receive(stream).await? else { return Err(no_amqp()) };
        let offered = offered.sasl_server_mechanisms.0;
        if !offered.iter().any(|mechanism| mechanism.as_str() == self.mechanism()) {
            let names: Vec<&str> = offered.iter().map(Symbol::as_str).collect();
            return Err(refused(format!(
                "the broker does not take {} to say who one is; it takes {}",
                self.mechanism(),
                names.join(", ")
            )));
        }
        let init = SaslInit {
            mechanism: Symbol::from(self.mechanism()),
            initial_response: Some(Binary::from(self.response())),
            hostname: Some(host.to_owned()),
        };
        send(stream, Frame::Init(init)).await?;
        match receive(stream).await? {
            Frame::Outcome(outcome) if outcome.code == SaslCode::Ok => Ok(()),
            Frame::Outcome(outcome) if outcome.code == SaslCode::SysTemp => {
                Err(Cause::lost("the broker cannot check credentials at present"))
            }
            Frame::Outcome(_) => Err(refused("the broker refuses the credentials".to_owned())),
            _ => Err(refused(format!("the broker asks for more than {} says", self.mechanism()))),
        }
    }
}

fn refused(text: String) -> Cause {
    Cause { kind: ErrorKind::Refused, ..Cause::lost(text) }
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, frame: Frame) -> Result<(), Cause> {
    let mut body = BytesMut::new();
    FrameCodec {}.encode(frame, &mut body).map_err(|_| no_amqp())?;
    let size = u32::try_from(body.len() + 4).map_err(|_| no_amqp())?;
    stream.write_all(&size.to_be_bytes()).await.map_err(|error| of_io(&error))?;
    stream.write_all(&body).await.map_err(|error| of_io(&error))?;
    stream.flush().await.map_err(|error| of_io(&error))
}

/// One frame and not a byte more: what comes after belongs to the next layer.
async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Frame, Cause> {
    let mut size = [0; 4];
    stream.read_exact(&mut size).await.map_err(|error| of_io(&error))?;
    let size = u32::from_be_bytes(size) as usize;
    if !FRAME_SIZES.contains(&size) {
        return Err(no_amqp());
    }
    let mut body = BytesMut::zeroed(size - 4);
    stream.read_exact(&mut body).await.map_err(|error| of_io(&error))?;
    FrameCodec {}.decode(&mut body).ok().flatten().ok_or_else(no_amqp)
}

#[cfg(test)]
mod tests {
    use fe2o3_amqp::types::{
        primitives::Array,
        sasl::{SaslMechanisms, SaslOutcome},
    };
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn mechanisms(names: &[&str]) -> Frame {
        let names = names.iter().map(|name| Symbol::from(*name)).collect();
        Frame::Mechanisms(SaslMechanisms { sasl_server_mechanisms: Array(names) })
    }

    /// A broker that offers these mechanisms and answers whatever is said so; with what was said.
    async fn answer(mut stream: DuplexStream, offered: &[&str], code: SaslCode) -> Option<SaslInit> {
        let mut header = [0; 8];
        stream.read_exact(&mut header).await.unwrap();
        stream.write_all(&header).await.unwrap();
        send(&mut stream, mechanisms(offered)).await.ok()?;
        let Ok(Frame::Init(init)) = receive(&mut stream).await else { return None };
        let outcome = Frame::Outcome(SaslOutcome { code, additional_data: None });
        send(&mut stream, outcome).await.ok()?;
        Some(init)
    }

    async fn log_in(login: Login, offered: &[&str], code: SaslCode) -> (Result<(), Cause>, Option<SaslInit>) {
        let (mut ours, theirs) = duplex(4096);
        let logging_in = async move { login.log_in(&mut ours, "tests").await };
        futures_util::future::join(logging_in, answer(theirs, offered, code)).await
    }

    #[tokio::test]
    async fn each_mechanism_says_what_it_has_to() {
        let plain = Login::Plain { username: "me".to_owned(), password: Some(Secret::new("hush")) };
        let expected: [(_, &[u8]); 3] =
            [(Login::Anonymous, b""), (Login::External, b""), (plain, b"\0me\0hush")];
        for (login, response) in expected {
            let mechanism = login.mechanism();
            let (result, init) = log_in(login, &["EXTERNAL", "PLAIN", "ANONYMOUS"], SaslCode::Ok).await;
            result.unwrap();
            let init = init.unwrap();
            assert_eq!((init.mechanism.as_str(), init.hostname.as_deref()), (mechanism, Some("tests")));
            assert_eq!(init.initial_response.unwrap().into_vec(), response);
        }
    }

    #[tokio::test]
    async fn what_the_broker_does_not_take_is_told_with_what_it_takes() {
        let (result, _) = log_in(Login::Anonymous, &["PLAIN", "EXTERNAL"], SaslCode::Ok).await;
        let cause = result.unwrap_err();
        assert_eq!(cause.kind, ErrorKind::Refused);
        assert!(cause.text.contains("ANONYMOUS") && cause.text.contains("PLAIN, EXTERNAL"), "{}", cause.text);
        let (result, _) = log_in(Login::Anonymous, &["ANONYMOUS"], SaslCode::Auth).await;
        assert_eq!(result.unwrap_err().kind, ErrorKind::Refused);
        let (result, _) = log_in(Login::Anonymous, &["ANONYMOUS"], SaslCode::SysTemp).await;
        assert_eq!(result.unwrap_err().kind, ErrorKind::Unreachable);
    }

    #[tokio::test]
    async fn anything_but_frames_of_sasl_is_another_protocol() {
        let garbage: [&[u8]; 4] = [
            b"SSH-2.0-any\r\n",
            b"AMQP\x03\x01\x00\x00\x00\x00\x00\x03\x02",
            b"AMQP\x03\x01\x00\x00\x7f\xff\xff\xff\x02",
            b"AMQP\x03\x01\x00\x00\x00\x00\x00\x0c\x02\x01\x00\x00\xff\xff\xff\xff",
        ];
        for bytes in garbage {
            let (mut ours, mut theirs) = duplex(4096);
            theirs.write_all(bytes).await.unwrap();
            let cause = Login::Anonymous.log_in(&mut ours, "tests").await.unwrap_err();
            assert!(cause.text.contains("does not speak AMQP 1.0"), "{bytes:?}: {}", cause.text);
        }
    }
}
