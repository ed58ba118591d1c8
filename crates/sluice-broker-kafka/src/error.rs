//! What librdkafka's error codes mean to the gateway.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use sluice_broker::{DriverError, ErrorKind};

/// The kind of an error, as far as callers act differently on it.
pub(crate) fn kind_of(error: &KafkaError) -> ErrorKind {
    match error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::Nul(_) => {
            ErrorKind::Configuration
        }
        KafkaError::Canceled | KafkaError::MessageConsumptionFatal(_) => ErrorKind::Closed,
        other => other.rdkafka_error_code().map_or(ErrorKind::Other, kind_of_code),
    }
}

fn kind_of_code(code: Code) -> ErrorKind {
    match code {
        Code::BrokerTransportFailure
        | Code::Resolve
        | Code::SSL
        | Code::AllBrokersDown
        | Code::MessageTimedOut
        | Code::OperationTimedOut
        | Code::TimedOutQueue
        | Code::RequestTimedOut
        | Code::NetworkException
        | Code::BrokerNotAvailable
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::ReplicaNotAvailable
        | Code::PreferredLeaderNotAvailable
        | Code::EligibleLeadersNotAvailable
        | Code::OffsetNotAvailable
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::ISRInsufficient
        | Code::WaitingForCoordinator
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator => ErrorKind::Unreachable,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SecurityDisabled
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => ErrorKind::Refused,
        Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::InvalidTopic => ErrorKind::NoTopic,
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            ErrorKind::TooLarge
        }
        Code::InvalidRecord => ErrorKind::Invalid,
        // The time of a message is the gateway's, whose clock is wrong, and passes.
        Code::InvalidTimestamp => ErrorKind::Other,
        Code::QueueFull => ErrorKind::Overloaded,
        Code::AutoOffsetReset | Code::LogTruncation | Code::OffsetOutOfRange => ErrorKind::PositionLost,
        Code::PurgeQueue | Code::PurgeInflight => ErrorKind::Closed,
        _ => ErrorKind::Other,
    }
}

/// Whether librdkafka goes on by itself after this error of a connection, so that a reader just waits.
pub(crate) fn is_passing(error: &KafkaError) -> bool {
    let login = [Code::Authentication, Code::SaslAuthenticationFailed];
    kind_of(error) == ErrorKind::Unreachable
        || error.rdkafka_error_code().is_some_and(|code| login.contains(&code))
}

/// Whether this says that a topic or partition is not there.
pub(crate) fn is_missing(code: Code) -> bool {
    kind_of_code(code) == ErrorKind::NoTopic
}

/// The error of every call to a driver or reader that was closed.
pub(crate) fn closed() -> DriverError {
    DriverError::new(ErrorKind::Closed, "The connection to Kafka was closed.")
}
