//! The driver against real brokers: Mosquitto with MQTT 5 and 3.1.1, and Artemis with MQTT 5.
//!
//! `cargo xtask test` starts them and sets the variables that [`support`] asks for.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests: they stop at the first thing that is not as it says"
)]

mod faults;
mod groups;
mod hanging_up;
mod publishing;
mod reading;
mod security;
mod subjects;
mod support;

mod mosquitto_with_mqtt_5 {
    sluice_broker::conformance_suite!(crate::subjects::mosquitto("5"));
}

mod mosquitto_with_mqtt_3_1_1 {
    sluice_broker::conformance_suite!(crate::subjects::mosquitto("3.1.1"));
}

mod artemis_with_mqtt_5 {
    sluice_broker::conformance_suite!(crate::subjects::artemis());
}
