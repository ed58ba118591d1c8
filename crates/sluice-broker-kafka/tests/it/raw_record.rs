//! A record that no client library writes: with a header whose name is not UTF-8. Sent by hand as a Produce
//! request of version 3, the way it stands in Kafka's protocol guide.

use sluice_broker::StartAt;
use sluice_message::Topic;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{consume, new_topic, next, open, plain, step, variable};

#[tokio::test(flavor = "multi_thread")]
async fn a_header_whose_name_is_not_utf8_is_left_out_and_harms_nothing() {
    let topic = new_topic("raw", 1).await;
    let kafka = open(&plain());
    let mut reader = consume(&kafka, &topic, StartAt::Latest).await;
    step("send a raw record", produce(&topic, &[(b"good", b"1"), (b"\xff\xfe", b"2"), (b"better", b"3")]))
        .await;
    let message = next(&mut reader).await.expect("Kafka is there");
    assert_eq!(message.payload(), b"payload");
    let names: Vec<_> = message.headers().iter().map(|header| &*header.name).collect();
    assert_eq!(names, ["good", "better"]);
}

async fn produce(topic: &Topic, headers: &[(&[u8], &[u8])]) {
    let batch = batch(&record(headers));
    let mut request = Vec::new();
    request.extend([0, 0, 0, 3]); // Produce, version 3
    request.extend(7i32.to_be_bytes()); // correlation
    request.extend((-1i16).to_be_bytes()); // no client id
    request.extend((-1i16).to_be_bytes()); // no transaction
    request.extend((-1i16).to_be_bytes()); // all replicas
    request.extend(10_000i32.to_be_bytes()); // milliseconds
    request.extend(1i32.to_be_bytes()); // topics
    request.extend(i16::try_from(topic.as_str().len()).expect("a short name").to_be_bytes());
    request.extend(topic.as_str().as_bytes());
    request.extend(1i32.to_be_bytes()); // partitions
    request.extend(0i32.to_be_bytes()); // partition
    request.extend(length(&batch));
    request.extend(batch);

    let mut stream = TcpStream::connect(variable("SLUICE_TEST_KAFKA")).await.expect("Kafka is there");
    stream.write_all(&[&length(&request)[..], &request].concat()).await.expect("Kafka listens");
    let size = stream.read_i32().await.expect("Kafka answers");
    let mut answer = vec![0; usize::try_from(size).expect("a size")];
    stream.read_exact(&mut answer).await.expect("Kafka answers");
    // correlation, topics, name, partitions, partition, then the error
    let error_at = 4 + 4 + 2 + topic.as_str().len() + 4 + 4;
    assert_eq!(answer[error_at..error_at + 2], [0, 0], "Kafka refused the record");
}

fn record(headers: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut record = vec![0, 0, 0]; // attributes, time and offset since those of the batch
    record.extend(varint(-1)); // no key
    record.extend(sized(b"payload"));
    record.extend(varint(headers.len() as i64));
    for (name, value) in headers {
        record.extend(sized(name));
        record.extend(sized(value));
    }
    sized(&record)
}

fn batch(record: &[u8]) -> Vec<u8> {
    let mut checked = Vec::new();
    checked.extend(0i16.to_be_bytes()); // attributes
    checked.extend(0i32.to_be_bytes()); // last offset
    checked.extend(1_700_000_000_000i64.to_be_bytes()); // first time
    checked.extend(1_700_000_000_000i64.to_be_bytes()); // last time
    checked.extend((-1i64).to_be_bytes()); // no producer id
    checked.extend((-1i16).to_be_bytes()); // nor its epoch
    checked.extend((-1i32).to_be_bytes()); // nor a sequence
    checked.extend(1i32.to_be_bytes()); // records
    checked.extend(record);

    let mut rest = Vec::new();
    rest.extend((-1i32).to_be_bytes()); // epoch of the leader
    rest.push(2); // format of the batch
    rest.extend(crc32c(&checked).to_be_bytes());
    rest.extend(checked);
    [&0i64.to_be_bytes()[..], &length(&rest), &rest].concat()
}

fn length(bytes: &[u8]) -> [u8; 4] {
    i32::try_from(bytes.len()).expect("a small one").to_be_bytes()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [varint(bytes.len() as i64), bytes.to_vec()].concat()
}

fn varint(number: i64) -> Vec<u8> {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(sum & 1)))
    })
}
